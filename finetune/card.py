"""The model card, README.md next to an adapter or a model: what was trained, on what, how, and whose licence holds.

Nothing in it decides what the weights are: it never enters a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, try_to_load_from_cache

from selectit.config import FinetuneConfig, ModelConfig, is_execution
from selectit.errors import UserError
from selectit.finetune.dataset import TrainingSet
from selectit.finetune.rows import TrainingRows
from selectit.finetune.run_file import TrainingRun
from selectit.finetune.validation import best, validation_losses
from selectit.store.names import SELECTION_FILE
from selectit.templates import template_name

CARD_FILE = "README.md"
EARLIER_CARD_FILE = "README.earlier.md"
LIBRARIES = ("selectit", "torch", "transformers", "trl", "peft")
LLAMA = "{name} is licensed under the {name} Community License, Copyright © Meta Platforms, Inc. All Rights Reserved."
NOTICES = {
    "llama2": "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved.",
    "llama3": f"Built with Meta Llama 3. {LLAMA.format(name='Meta Llama 3')}",
    **{f"llama3.{n}": f"Built with Llama. {LLAMA.format(name=f'Llama 3.{n}')}" for n in (1, 2, 3)},
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
}
"""Licence as the hub names it -> the lines that it asks for next to each copy."""
FAMILY = re.compile(r"(?:^|[^a-z])(?:(llama)-?(\d(?:\.\d)?)(?![\d.])|(gemma))")
"""In the name of a base, in lower case: the family whose licence it is under."""


def write_card(
    run: TrainingRun,
    training_set: TrainingSet,
    validation: TrainingSet | None,
    rows: TrainingRows,
    log: Sequence[Mapping[str, Any]],
    changed: str,
) -> None:
    """Args: log: the trainer's; changed: how much of the weights differs, in words."""
    stage, folder, messages = run.stage, run.weights, run.messages
    finetune, base = stage.finetune, stage.model
    steps = [entry for entry in log if "loss" in entry]
    what = "Adapter" if finetune.trains_adapter else "Model"
    licence = base_licence(base.path, base.revision)
    losses = f"{steps[0]['loss']:.4f} in the first step, {steps[-1]['loss']:.4f} in the last of {len(steps)}"
    with messages.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    facts = {
        "base model": (f"{Path(base.path).name}, a folder" if Path(base.path).is_dir() else base.path)
        + (f", revision {base.revision}" if base.revision else ""),
        "licence of the base": licence_text(licence),
        "trained on": f"{len(training_set.rows)} rows, {training_set.num_tokens} tokens, of which "
        f"{training_set.num_trained_tokens} count in the loss; sha256 of messages.jsonl {digest}",
        **_selection(messages),
        **(
            {"replayed": f"{rows.num_replayed} of these rows, from {_name(finetune.replay.path)}"}
            if finetune.replay
            else {}
        ),
        "loss": losses,
        **_validation(finetune, validation, log),
        **({"went on from": f"the adapter {_name(finetune.adapter)}"} if finetune.adapter else {}),
        "changed": changed,
        "made with": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }
    left_out = {name for name, info in type(finetune).model_fields.items() if is_execution(info)}
    settings = {**_without_folders(finetune.model_dump(mode="json", exclude=left_out)), "seed": stage.seed}
    if not finetune.trains_adapter:
        del settings["lora"]
    body = [
        f"# {what} of {Path(base.path).name}, trained by selectit",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in facts.items()),
        "",
        "Settings of the training that count; the rest cannot change the weights:",
        "",
        "```json",
        json.dumps(settings, indent=2),
        "```",
    ]
    library = "peft" if finetune.trains_adapter else "transformers"
    _write(folder, _with_metadata(body, base.path, licence, library))


def _selection(messages: Path) -> dict[str, str]:
    """How the subset was chosen, where a selection stands next to it."""
    path = messages.parent / SELECTION_FILE
    if not path.is_file():
        return {}
    selection = json.loads(path.read_text(encoding="utf-8"))
    chosen, of = selection["num_selected"], selection["num_rows"]
    return {"selected by": f"strategy {selection['strategy']}, ratio {chosen / of:.3g}: {chosen} of {of} rows"}


def _validation(
    finetune: FinetuneConfig, validation: TrainingSet | None, log: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    if validation is None:
        return {}
    losses = validation_losses(log)
    series = ", ".join(f"{loss:.4f} after epoch {epoch:g}" for _, epoch, loss in losses)
    which = ""
    if finetune.early_stopping is not None:
        which = f"; these are the weights after epoch {best(losses)[1]:g}, the lowest (early stopping)"
    return {"validation loss": f"on {len(validation.rows)} rows that were not trained on: {series}{which}"}


def _without_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """Paths of this machine by their last part."""
    shown = {**settings, "template": template_name(settings["template"])}
    for key in ("validation", "replay"):
        if shown.get(key) and "path" in shown[key]:
            shown[key] = {**shown[key], "path": _name(shown[key]["path"])}
    if shown.get("adapter"):
        shown["adapter"] = _name(shown["adapter"])
    return shown


def _name(location: str) -> str:
    return Path(location).name if Path(location).exists() else location


def write_merged_card(folder: Path, adapter: Path, model: ModelConfig, agreement: str) -> None:
    """The card of a merged model: the adapter's own, behind what was merged and how far the two agree."""
    path = adapter / CARD_FILE
    lines = _without_metadata(path.read_text(encoding="utf-8")).splitlines() if path.exists() else []
    lines = [f"#{line}" if line.startswith("# ") else line for line in lines]
    base, licence = model.path, base_licence(model.path, model.revision)
    at = f" at revision {model.revision}" if model.revision else ""
    body = [
        f"# {Path(base).name} with an adapter merged into it by selectit",
        "",
        f"Merged into {Path(base).name if Path(base).is_dir() else base}{at} by selectit {version('selectit')}, "
        f"peft {version('peft')}. {agreement}",
        "",
        f"Licence of the base: {licence_text(licence)}",
        "",
        *(lines or ["The adapter came without a card."]),
    ]
    _write(folder, _with_metadata(body, base, licence, "transformers"))


def _write(folder: Path, text: str) -> None:
    """A card of other words that stands there, which somebody may have edited, is kept under another name."""
    path = folder / CARD_FILE
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        os.replace(path, folder / EARLIER_CARD_FILE)
    path.write_text(text, encoding="utf-8")


def base_licence(base: str, revision: str | None = None) -> str | None:
    """As the hub names it, from the base's own card in its folder or the hub's cache; None: not known.

    A folder or id that is named after LLaMA 2 or 3 or Gemma is under that licence.
    """
    path = Path(base) / CARD_FILE
    if not Path(base).is_dir():
        cached = try_to_load_from_cache(base, CARD_FILE, revision=revision) if base.count("/") == 1 else None
        path = Path(cached) if isinstance(cached, str) else path
    if path.is_file():
        card = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
        licence = card.data.to_dict().get("license")
        if isinstance(licence, str):
            return licence
    found = FAMILY.search(Path(base).name.lower())
    licence = None if found is None else found[3] or f"llama{found[2]}"
    return licence if licence in NOTICES else None


def licence_text(licence: str | None) -> str:
    if licence is None:
        return (
            "unknown: the base has no card with a licence in its folder or the hub's cache; look it up before sharing"
        )
    return NOTICES.get(licence, licence)


def read_card(folder: Path) -> str:
    """Raises: UserError where there is none."""
    path = folder / CARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no {CARD_FILE}; a training or a merge writes it next to the weights")
    return path.read_text(encoding="utf-8")


def _with_metadata(body: Sequence[str], base: str, licence: str | None, library: str) -> str:
    metadata: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": "text-generation",
        "tags": ["sft", "trl", "selectit"],
    }
    if not Path(base).exists():
        metadata["base_model"] = base  # the hub refuses a path here
    if licence:
        metadata["license"] = licence
    return f"---\n{yaml.safe_dump(metadata)}---\n\n" + "\n".join(body) + "\n"


def _without_metadata(text: str) -> str:
    return text.split("\n---\n", 1)[-1].lstrip() if text.startswith("---\n") else text
