"""Which weights are evaluated: a checkpoint, or an adapter on its base, which must change something."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selectit.errors import UserError
from selectit.inference.adapters import load_adapter
from selectit.inference.load import (
    is_offloaded,
    placement,
)
from selectit.store.names import ADAPTER_CONFIG, ADAPTER_FOLDER, MODEL_FOLDER

_GUARD_PROMPT = "Below is an instruction that describes a task. Write a response"


@dataclass(frozen=True)
class Weights:
    """What stands on top of, or in place of, the base model."""

    adapter: str | None = None
    """Folder or hub id of a PEFT adapter."""
    checkpoint: str | None = None
    """Folder of a whole model with its tokenizer."""
    last_change: int = 0
    """Newest file in nanoseconds: the same folder with other weights is another model."""


def find_weights(finetuned: Path | None, adapter: str | None) -> Weights:
    """Args:   finetuned: a finetune artifact with `adapter/` or `model/`; adapter: one from elsewhere.
    Raises: UserError where an artifact holds neither.
    """
    if finetuned is None:
        return Weights(adapter=adapter, last_change=_last_change(Path(adapter)) if adapter else 0)
    if (finetuned / ADAPTER_FOLDER / ADAPTER_CONFIG).is_file():
        return Weights(adapter=str(finetuned / ADAPTER_FOLDER), last_change=_last_change(finetuned / ADAPTER_FOLDER))
    if (finetuned / MODEL_FOLDER / "config.json").is_file():
        return Weights(checkpoint=str(finetuned / MODEL_FOLDER), last_change=_last_change(finetuned / MODEL_FOLDER))
    raise UserError(
        f"{finetuned} holds neither adapter/adapter_config.json nor model/config.json; run its fine-tuning again"
    )


def _last_change(folder: Path) -> int:
    return max((path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()), default=0)


def with_adapter(base: PreTrainedModel, adapter: str, base_name: str, tokenizer: PreTrainedTokenizerBase) -> PeftModel:
    if is_offloaded(base):
        raise UserError(
            f"{base_name} is spread over {', '.join(placement(base))}, and an adapter needs all layers on GPUs or all "
            "in memory. Use more GPUs, raise max_memory, or merge it first (selectit merge) and evaluate the result."
        )
    adapted: Any = load_adapter(base, adapter, base_name)
    adapted.name_or_path = f"{base_name} with {adapter}"
    ids = tokenizer(_GUARD_PROMPT, return_tensors="pt").input_ids.to(adapted.device)
    with torch.no_grad():
        after = adapted(ids).logits
        with adapted.disable_adapter():
            before = adapted(ids).logits
    if torch.equal(before, after):
        raise changes_nothing(adapter, base_name)
    return adapted


def changes_nothing(adapter: str, base_name: str) -> UserError:
    return UserError(
        f"the adapter {adapter} changes nothing: the logits of {base_name} are the same with and without it. "
        "It was never trained, or its weights were not saved; run its fine-tuning again."
    )
