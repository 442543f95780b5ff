"""Where a training ends whose budget is tokens: the optimiser step that reaches them.

Counted before the first step from the seeded order of the rows, so that the learning rate's schedule, a resumed run
and any number of processes know the same end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selectit.config import FinetuneConfig
from selectit.finetune.dataset import IGNORED_LABEL, TrainingRow
from selectit.finetune.sampler import StepOrder


def step_order(
    rows: Sequence[TrainingRow], finetune: FinetuneConfig, seed: int, scores: Mapping[str, float] | None = None
) -> StepOrder:
    """Args: scores: by row id, with order curriculum; of equal ones the row that comes first in the pool goes first."""
    lengths, curriculum = [len(row.input_ids) for row in rows], None
    if finetune.order == "curriculum":
        assert scores is not None
        sign = -1 if finetune.curriculum == "descending" else 1
        curriculum = sorted(range(len(rows)), key=lambda at: sign * scores[rows[at].row_id])
    sizes = finetune.global_batch_size, finetune.micro_batch_size
    return StepOrder(lengths, *sizes, seed, finetune.packing, curriculum)


def trained_tokens(rows: Sequence[TrainingRow]) -> list[int]:
    """Tokens of each row that count in the loss."""
    return [int((row.labels != IGNORED_LABEL).sum()) for row in rows]


def steps_to(budget: int, order: StepOrder, tokens: Sequence[int]) -> int:
    """Args: tokens: of each row, as the budget counts them; epochs follow one another as long as it takes."""
    of_epoch = sum(tokens)
    epochs = budget // of_epoch  # whole ones, whatever their order
    steps, seen = epochs * order.steps_per_epoch, epochs * of_epoch
    while seen < budget:
        seen += order.sum_over_step(steps, tokens)
        steps += 1
    return steps


def tokens_until(step: int, order: StepOrder, tokens: Sequence[int]) -> int:
    """Tokens of the first `step` steps."""
    epochs, rest = divmod(step, order.steps_per_epoch)
    first = epochs * order.steps_per_epoch
    return epochs * sum(tokens) + sum(order.sum_over_step(first + n, tokens) for n in range(rest))
