"""The proof, before training, that packed rows have no cross-example attention in this model, with this attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from selectit.errors import UserError
from selectit.finetune.dataset import TrainingRow
from selectit.finetune.trainer import ROW_INDEX, RowCollator

NUM_ROW_TOKENS = 32
TOLERANCE = {torch.float32: 1e-4}
HALF_TOLERANCE = 0.05
"""Largest difference of logits between a row alone and the same row behind another, by the largest logit."""


@torch.no_grad()
def refuse_leaks(model: Any, rows: Sequence[TrainingRow]) -> None:
    """Ask for the logits of a row's beginning, alone and packed behind another's; every process must ask.

    Raises: UserError where they differ: some architectures take no account of packed positions.
    """
    behind, row = (rows[i].input_ids[:NUM_ROW_TOKENS] for i in (0, -1))
    examples = [{"input_ids": ids, "labels": ids, ROW_INDEX: 0} for ids in (behind, row)]
    packed: dict[str, Any] = RowCollator(0, padding_free=True)(examples)
    del packed["labels"], packed[ROW_INDEX]
    inputs = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in packed.items()}
    model.eval()
    together = model(**inputs, use_cache=False).logits[0, len(behind) :].float()
    alone = model(input_ids=torch.as_tensor(row[None], device=model.device), use_cache=False).logits[0].float()
    difference = ((together - alone).abs().max() / alone.abs().max()).item()
    if difference > TOLERANCE.get(model.dtype, HALF_TOLERANCE):
        attention = model.config._attn_implementation  # transformers has no public name for the one it chose
        raise UserError(
            f"finetune.packing: there is cross-example attention in {type(model).__name__} with "
            f"{attention} attention: behind another row, a row's logits differ by "
            f"{difference:.1%} of the largest. Set finetune.packing to false."
        )
