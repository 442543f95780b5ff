"""The validation losses of a training, from its log alone, and what they show of its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selectit.config import FinetuneConfig

VALIDATION_LOSS = "eval_loss"
"""As transformers names it in the log."""


def validation_losses(log: Sequence[Mapping[str, Any]]) -> list[tuple[int, float, float]]:
    """(step, epoch, loss) of each evaluation, in order."""
    return [(entry["step"], entry["epoch"], entry[VALIDATION_LOSS]) for entry in log if VALIDATION_LOSS in entry]


def best(losses: Sequence[tuple[int, float, float]]) -> tuple[int, float, float]:
    """The first of those with the lowest loss."""
    return min(losses, key=lambda entry: entry[2])


def has_stopped(log: Sequence[Mapping[str, Any]], finetune: FinetuneConfig) -> bool:
    """Whether the last `patience` evaluations brought no new lowest loss; known from the log alone, so a resumed
    training stops where it would have.
    """
    losses = validation_losses(log)
    if finetune.early_stopping is None or not losses:
        return False
    return len(losses) - 1 - losses.index(best(losses)) >= finetune.early_stopping.patience
