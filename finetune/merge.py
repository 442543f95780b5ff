"""An adapter merged into its base, and the proof that the merged model says what base and adapter say.

Reads an adapter folder; writes a checkpoint that plain transformers loads, in the number type of the base.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, PreTrainedModel

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.finetune.card import write_merged_card
from selectit.models import device, load_model, load_tokenizer

Dtype = Literal["float32", "bfloat16", "float16"]
NUM_CANARY_TOKENS = 64
TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 3e-2}
"""Largest difference of a logit, by the largest logit: what rounding the merged weights costs."""
SHARE_OF_EFFECT = 0.5
"""Above this share of what the adapter changes, the merged model would be no nearer to it than to the base."""


@dataclass(frozen=True)
class Agreement:
    """Of the logits on a few tokens, float32."""

    difference: float
    """Largest, between the merged model as saved and base with adapter."""
    effect: float
    """Largest, between base with adapter and base alone."""
    largest: float
    dtype: Dtype

    @property
    def holds(self) -> bool:
        near = self.difference <= TOLERANCE[self.dtype] * self.largest
        return near and self.difference <= SHARE_OF_EFFECT * self.effect

    def __str__(self) -> str:
        return (
            f"In {self.dtype} its logits differ from base and adapter by {self.difference:.1e} at most, where the "
            f"largest is {self.largest:.1f} and the adapter changes up to {self.effect:.1e}."
        )


def merge(
    adapter: Path, out: Path, model: str | None = None, dtype: Dtype | None = None, revision: str | None = None
) -> Agreement:
    """Args: adapter: its folder, or that of a training; model: the base; default: the one that the adapter names;
        dtype: of the merged weights; default: the base's own; revision: of a base on the hub.

    Raises: UserError where `out` is not empty, adapter or base cannot be loaded, or the merged model does not agree.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name another --out")
    folder, base = find_adapter(adapter), model
    if base is None:
        base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    if not base:
        raise UserError(f"{folder / 'adapter_config.json'} names no base model; name it with --model")
    chosen = dtype or _stored_dtype(base)
    config = ModelConfig(path=base, revision=revision, dtype=chosen)
    tokenizer = load_tokenizer(ModelConfig(path=str(folder)) if _has_tokenizer(folder) else config)
    ids = torch.linspace(0, len(tokenizer) - 1, NUM_CANARY_TOKENS).long()[None]

    if device().type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # PEFT imports deepspeed, which warns of a guess
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT still uses names that transformers 5 renamed
        adapted = _with_adapter(load_model(config), folder, base)
    before = _logits(adapted, ids)
    with adapted.disable_adapter():
        base_logits = _logits(adapted, ids)
    merged: PreTrainedModel = adapted.merge_and_unload()  # type: ignore[operator]
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    merged.save_pretrained(part)
    tokenizer.save_pretrained(part)
    del adapted, merged

    after = _logits(load_model(ModelConfig(path=str(part), dtype=chosen)), ids)
    agreement = Agreement(
        (after - before).abs().max().item(),
        (before - base_logits).abs().max().item(),
        before.abs().max().item(),
        chosen,
    )
    if not agreement.holds:
        shutil.rmtree(part)
        raise UserError(
            f"the merged model would not be the adapter's: {agreement} Allowed is {TOLERANCE[chosen]:g} of the largest "
            f"logit and {SHARE_OF_EFFECT:.0%} of the adapter's change. Nothing was written; "
            "--dtype float32 rounds least."
        )
    write_merged_card(part, folder, base, str(agreement))
    if out.exists():
        out.rmdir()
    part.rename(out)
    return agreement


def find_adapter(folder: Path) -> Path:
    """The folder itself, or `adapter/` in that of a training.

    Raises: UserError where neither holds an adapter.
    """
    for candidate in (folder, folder / "adapter"):
        if (candidate / "adapter_config.json").is_file():
            return candidate
    raise UserError(f"{folder} holds no adapter: neither adapter_config.json nor adapter/adapter_config.json is there")


def _stored_dtype(base: str) -> Dtype:
    try:
        found = AutoConfig.from_pretrained(base).dtype
    except (OSError, ValueError) as error:
        raise UserError(
            f"the base {base} cannot be read: {str(error).splitlines()[0]}\nName where it is with --model."
        ) from error
    names: dict[Any, Dtype] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    return names.get(found, "float32")


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _with_adapter(base: PreTrainedModel, adapter: Path, name: str) -> PeftModel:
    try:
        return PeftModel.from_pretrained(base, str(adapter)).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"the adapter {adapter} does not fit on {name}: {str(error).splitlines()[0]}") from error


@torch.no_grad()
def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids.to(model.device)).logits[0].float().cpu()
