"""The model card, README.md beside an adapter or a model: what was trained, on what, how, and whose licence holds.

Nothing in it decides what the weights are: it never enters a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, try_to_load_from_cache

from selectit.config import FinetuneStage, ModelConfig, is_execution
from selectit.errors import UserError
from selectit.finetune.dataset import TrainingSet
from selectit.templates import template_name

CARD_FILE = "README.md"
EARLIER_CARD_FILE = "README.earlier.md"
LIBRARIES = ("selectit", "torch", "transformers", "trl", "peft")
NOTICES = {
    "llama2": "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved.",
}
"""Licence as the hub names it -> the line that it asks for beside each copy."""


def write_card(
    folder: Path, stage: FinetuneStage, messages: Path, training_set: TrainingSet, steps: Sequence[Mapping[str, Any]]
) -> None:
    """Args: folder: of the saved weights; messages: the subset; steps: of the trainer's log, one per step."""
    finetune, base = stage.finetune, stage.model
    what = "Adapter" if finetune.trains_adapter else "Model"
    licence = base_licence(base.path, base.revision)
    losses = f"{steps[0]['loss']:.4f} in the first step, {steps[-1]['loss']:.4f} in the last of {len(steps)}"
    with messages.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    facts = {
        "base model": (f"{Path(base.path).name}, a folder" if Path(base.path).is_dir() else base.path)
        + (f", revision {base.revision}" if base.revision else ""),
        "licence of the base": told_licence(licence),
        "trained on": f"{len(training_set.rows)} rows, {training_set.num_tokens} tokens, of which "
        f"{training_set.num_trained_tokens} count in the loss; sha256 of messages.jsonl {digest}",
        "loss": losses,
        "made with": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }
    settings = {
        **finetune.model_dump(
            mode="json", exclude={name for name, info in type(finetune).model_fields.items() if is_execution(info)}
        ),
        "template": template_name(finetune.template),  # a file of the user's by its name
        "seed": stage.seed,
    }
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
        f"Licence of the base: {told_licence(licence)}",
        "",
        *(lines or ["The adapter came without a card."]),
    ]
    _write(folder, _with_metadata(body, base, licence, "transformers"))


def _write(folder: Path, text: str) -> None:
    """A card of other words that stands there, which somebody may have edited, is kept beside it."""
    path = folder / CARD_FILE
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        os.replace(path, folder / EARLIER_CARD_FILE)
    path.write_text(text, encoding="utf-8")


def base_licence(base: str, revision: str | None = None) -> str | None:
    """As the hub names it, from the base's own card in its folder or the hub's cache; None: not known.

    A folder or id that is named after LLaMA-2 is under LLaMA-2's licence.
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
    name = Path(base).name.lower()
    return "llama2" if "llama-2" in name or "llama2" in name else None


def told_licence(licence: str | None) -> str:
    if licence is None:
        return (
            "unknown: the base has no card with a licence in its folder or the hub's cache; look it up before sharing"
        )
    return NOTICES.get(licence, licence)


def read_card(folder: Path) -> str:
    """Raises: UserError where there is none."""
    path = folder / CARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no {CARD_FILE}; a training or a merge writes it beside the weights")
    return path.read_text(encoding="utf-8")


def _with_metadata(body: Sequence[str], base: str, licence: str | None, library: str) -> str:
    metadata: dict[str, Any] = {"library_name": library, "tags": ["sft", "trl", "selectit"]}
    if not Path(base).exists():
        metadata["base_model"] = base  # the hub refuses a path here
    if licence:
        metadata["license"] = licence
    return f"---\n{yaml.safe_dump(metadata)}---\n\n" + "\n".join(body) + "\n"


def _without_metadata(text: str) -> str:
    return text.split("\n---\n", 1)[-1].lstrip() if text.startswith("---\n") else text
