"""Translation: BLEU and chrF by sacrebleu, and COMET by a Python of its own, whose packages are not to be had in ours.

What goes to that Python and comes back are JSON files (comet_worker.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from selectit.errors import UserError
from selectit.evaluate.grading.kinds import Translations
from selectit.evaluate.results import Item, Metric, mean_metric

COMET_MODEL = "Unbabel/wmt22-comet-da"
NUM_BOOTSTRAP = 1000
_NORMAL_95 = 1.96


def score(
    items: Sequence[Item], grading: Translations, comet_python: str | None
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics, as fractions, and what made them: sacrebleu's signatures, COMET's version and model.

    BLEU and chrF are of the whole set, not means over sentences, so only COMET gives the items a score. Their standard
    error is the 95 % interval of sacrebleu's bootstrap, halved and divided by 1.96.
    """
    translations = [first_line(item.outputs[0]) for item in items]
    references = [item.doc["reference"] for item in items]
    for item, translation in zip(items, translations, strict=True):
        item.answer = translation
    metrics, made_by = {}, {}
    tokenizer = "zh" if grading.target == "zh" else "13a"
    for name, metric in (("bleu", BLEU(tokenize=tokenizer)), ("chrf", CHRF())):
        found: Any = metric.corpus_score(translations, [references], n_bootstrap=NUM_BOOTSTRAP if len(items) > 1 else 1)
        # sacrebleu has the half width in no other place than a text with few digits
        spread = float(found._ci) / _NORMAL_95 / 100 if len(items) > 1 else None
        metrics[name] = Metric(float(found.score) / 100, spread, len(items))
        made_by[name] = str(metric.get_signature())
    if grading.comet:
        assert comet_python is not None, "checked before anything was generated"
        rows = [
            {"src": item.doc["source"], "mt": translation, "ref": item.doc["reference"]}
            for item, translation in zip(items, translations, strict=True)
        ]
        reply = _ask_comet(comet_python, {"model": COMET_MODEL, "rows": rows})
        for item, value in zip(items, reply["scores"], strict=True):
            item.score = float(value)
        metrics["comet"] = mean_metric(reply["scores"])
        made_by["comet"] = f"unbabel-comet {reply['version']}, {COMET_MODEL}"
    return metrics, made_by


def first_line(text: str) -> str:
    """The first line with anything in it: models go on with notes. Source: ALMA's clean_outputstring."""
    return next((line.strip() for line in text.split("\n") if line.strip()), "")


def comet_unavailable(comet_python: str | None) -> str | None:
    """Why COMET cannot be computed, or None."""
    if comet_python is None:
        return "COMET needs a Python of its own (evaluate.comet_python); docs/evaluation.md describes how to make one"
    try:
        _ask_comet(comet_python, {"model": COMET_MODEL, "rows": []})
    except UserError as error:
        return str(error)
    return None


def _ask_comet(comet_python: str, order: dict[str, Any]) -> dict[str, Any]:
    """Raises: UserError where the interpreter or COMET in it does not work."""
    worker = (files("selectit.evaluate.grading") / "comet_worker.py").read_text(encoding="utf-8")
    # its packages are other versions of ours
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        asked.write_text(json.dumps(order), encoding="utf-8")
        command = [os.path.expanduser(comet_python), "-c", worker, str(asked), str(answered)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        except OSError as error:
            raise UserError(f"evaluate.comet_python: {comet_python} cannot be started ({error.strerror})") from error
        if process.returncode != 0 or not answered.is_file():
            last = (process.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
            raise UserError(f"evaluate.comet_python: COMET in {comet_python} failed: {last[:300]}")
        reply: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    if len(reply["scores"]) != len(order["rows"]):
        raise UserError(
            f"evaluate.comet_python: COMET gave {len(reply['scores'])} scores for {len(order['rows'])} translations"
        )
    return reply
