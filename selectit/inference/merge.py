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
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.inference.adapters import load_adapter
from selectit.inference.load import device, load_model, refuse_not_finite, resolve_dtype

Dtype = Literal["float32", "bfloat16", "float16"]
NUM_CANARY_TOKENS = 64
GENERATION_CONFIG = "generation_config.json"
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


def merge_weights(adapter: Path, base: ModelConfig, tokenizer: PreTrainedTokenizerBase, out: Path) -> Agreement:
    """Write the merged model and this tokenizer into the folder `out`.

    Raises: UserError where adapter or base cannot be loaded, or the merged model does not agree; `out` is gone then.
    """
    chosen = dtype_name(base)
    ids = torch.linspace(0, len(tokenizer) - 1, NUM_CANARY_TOKENS).long()[None]
    if device().type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # PEFT imports deepspeed, which warns of a guess
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT still uses names that transformers 5 renamed
        adapted = load_adapter(load_model(base), adapter, base.path)
    before = _logits(adapted, ids)
    with adapted.disable_adapter():
        base_logits = _logits(adapted, ids)
    merged: PreTrainedModel = adapted.merge_and_unload()  # type: ignore[operator]
    if (adapter / GENERATION_CONFIG).is_file():  # with the token that ends a turn
        merged.generation_config = GenerationConfig.from_pretrained(adapter)
    merged.save_pretrained(out)
    tokenizer.save_pretrained(out)
    del adapted, merged

    after = _logits(load_model(base.model_copy(update={"path": str(out), "revision": None, "dtype": chosen})), ids)
    agreement = Agreement(
        (after - before).abs().max().item(),
        (before - base_logits).abs().max().item(),
        before.abs().max().item(),
        chosen,
    )
    if not agreement.holds:
        shutil.rmtree(out)
        raise UserError(
            f"the merged model would not be the adapter's: {agreement} Allowed is {TOLERANCE[chosen]:g} of the largest "
            f"logit and {SHARE_OF_EFFECT:.0%} of the adapter's change. Nothing was written; "
            "--dtype float32 rounds least."
        )
    return agreement


def dtype_name(model: ModelConfig) -> Dtype:
    """The number type that `load_model` gives it."""
    names: dict[torch.dtype, Dtype] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    return names.get(resolve_dtype(model), "float32")


@torch.no_grad()
def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids.to(model.device)).logits[0].float().cpu()
    refuse_not_finite(logits, model)
    return logits
