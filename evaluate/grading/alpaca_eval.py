"""AlpacaEval: the answers in AlpacaEval's own form, and their win rate against the reference answers.

Writes model_outputs.json, which AlpacaEval's own tool reads as it is. What was generated is kept until a judge has
spoken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from selectit.data.whole_files import write_whole
from selectit.evaluate.judge.base import AnswerPair, Judge
from selectit.evaluate.results import BenchmarkResult, Item, Metric, mean_metric
from selectit.store.names import OUTPUTS_FILE

ANSWERS_FILE = ".answers.json"
METRIC = "win_rate"
_RESULT, _ITEM = TypeAdapter(BenchmarkResult), TypeAdapter(Item)
"""Read as JSON, in which a Metric is an object."""


def write_outputs(items: Sequence[Item], generator: str, out: Path) -> None:
    """Args: generator: the name of the model in AlpacaEval's tables."""
    rows = [
        {
            "dataset": item.doc["dataset"],
            "instruction": item.doc["instruction"],
            "output": item.outputs[0],
            "generator": generator,
        }
        for item in items
    ]
    (out / OUTPUTS_FILE).write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def output_length(items: Sequence[Item]) -> dict[str, Metric]:
    """Judges like long answers, so a win rate is read together with the mean length."""
    return {"output_chars": mean_metric([len(item.outputs[0]) for item in items])}


def win_rate(items: Sequence[Item], judge: Judge, advance: Callable[[int], None]) -> dict[str, Metric]:
    """Mean probability that the model's answer is preferred to the reference; each item gets its own as score.

    A verdict in words is 0 or 1, equal answers are 0.5, and one that the judge did not give is left out; {} where too
    many are. The standard error is that of a mean. Source: AlpacaEval 1; with probabilities as verdicts, AlpacaEval 2's
    weighted win rate.
    """
    comparisons = [AnswerPair(i.doc["instruction"], i.doc["output"], i.outputs[0]) for i in items]
    preferred = judge.compare(comparisons, advance)
    for item, probability in zip(items, preferred, strict=True):
        item.score = probability
    left_out = judge.left_out()
    if left_out is not None and left_out.is_too_many:
        return {}
    return {METRIC: mean_metric([probability for probability in preferred if probability is not None])}


def reference_sha256(references: Iterable[Mapping[str, Any]]) -> str:
    pairs = json.dumps([[row["instruction"], row["output"]] for row in references])
    return hashlib.sha256(pairs.encode()).hexdigest()


def keep_answers(result: BenchmarkResult, items: Sequence[Item], references: str, out: Path) -> None:
    """Put by what was generated, for a judge that fails: its next run must not generate it again.

    Args: references: their sha256.
    """
    kept = {"result": asdict(result), "items": [asdict(item) for item in items], "references": references}
    write_whole(out / ANSWERS_FILE, json.dumps(kept, ensure_ascii=False))


def kept_answers(out: Path) -> tuple[BenchmarkResult, list[Item], str] | None:
    """What `keep_answers` put by in this folder; None where there is nothing whole, which is then generated again."""
    path = out / ANSWERS_FILE
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_bytes())
        result = _RESULT.validate_json(json.dumps(kept["result"]), strict=True)
        items = [_ITEM.validate_json(json.dumps(item), strict=True) for item in kept["items"]]
        references = kept["references"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    is_whole = isinstance(references, str) and result.num_items == len(items) > 0 and all(map(_is_judgeable, items))
    return (result, items, references) if is_whole else None


def _is_judgeable(item: Item) -> bool:
    texts = (item.doc.get("instruction"), item.doc.get("output"), *item.outputs)
    return bool(item.outputs) and all(isinstance(text, str) for text in texts)


def forget_answers(out: Path) -> None:
    (out / ANSWERS_FILE).unlink(missing_ok=True)
