"""Perplexity and IFD: a score per row from the losses of its response.

Reads the ledgers of the losses stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from selectit.config import IFDSelect, PerplexitySelect
from selectit.errors import UserError
from selectit.scoring.loss_ledger import NOT_FINITE, Losses, read_losses
from selectit.store.names import LEDGER

Detail = Callable[[int], dict[str, Any]]
"""What scores.jsonl records of the row at a position next to its score."""
ABOVE_ONE = "ifd_above_one"
MID_START = 0.33
"""Share of the rows that stand above the middle; automated-instruction-selection's mid-ppl."""


def perplexity_scores(
    select: PerplexitySelect,
    row_ids: pa.Array,
    inputs: Mapping[str, Path],
    failures: list[str | None],
    details: list[Detail],
) -> np.ndarray:
    """Mean negative log-likelihood in nats, which orders rows as perplexity does; for `low`, its negative.

    Adds to `failures` and `details`. Returns: float64 [num_rows].
    """
    losses = _read(inputs["conditioned"], row_ids, failures)
    values = losses.response if select.over == "response" else losses.full
    details.append(
        lambda at: {
            "response_loss": _json_number(losses.response[at]),
            "full_loss": _json_number(losses.full[at]),
            "num_response_tokens": int(losses.num_response_tokens[at]),
        }
    )
    _refuse_nothing(values, inputs["conditioned"])
    return -values if select.order == "low" else values


def ifd_scores(
    select: IFDSelect,
    row_ids: pa.Array,
    inputs: Mapping[str, Path],
    failures: list[str | None],
    details: list[Detail],
) -> np.ndarray:
    """Instruction-following difficulty; a row above 1, whose instruction hinders, is a failure.

    Adds to `failures` and `details`. Returns: float64 [num_rows].
    """
    conditioned = _read(inputs["conditioned"], row_ids, failures)
    alone = _read(inputs["unconditioned"], row_ids, failures)
    values = ifd(conditioned.response, alone.response, select.form)
    for at, failure in enumerate(failures):
        if failure is None and not np.isfinite(values[at]):
            failures[at] = NOT_FINITE
        elif failure is None and values[at] > 1:
            failures[at] = ABOVE_ONE
    details.append(
        lambda at: {
            "ifd": _json_number(values[at]),
            "conditioned_loss": _json_number(conditioned.response[at]),
            "unconditioned_loss": _json_number(alone.response[at]),
            "num_response_tokens": int(conditioned.num_response_tokens[at]),
        }
    )
    _refuse_nothing(values, inputs["conditioned"])
    return values


def ifd(conditioned: np.ndarray, alone: np.ndarray, form: Literal["loss_ratio", "perplexity_ratio"]) -> np.ndarray:
    """Args: conditioned, alone: mean loss of each response, in nats.

    Source: Cherry_LLM divides the mean losses, Superfiltering the perplexities.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return conditioned / alone if form == "loss_ratio" else np.exp(conditioned - alone)


def middle_first(order: Sequence[int], num_eligible: int, count: int) -> list[int]:
    """An order from the highest loss on, started at rank int(0.33 n) of the n rows that have one.

    Raises: UserError where fewer than `count` rows follow.
    """
    start = int(MID_START * num_eligible)
    if start + count > num_eligible:
        raise UserError(
            f"select.order mid starts at rank {start} of {num_eligible} rows, and {count} rows from there on are more "
            f"than the {num_eligible - start} that follow; lower select.ratio"
        )
    return [*order[start:num_eligible], *order[:start], *order[num_eligible:]]


def _read(folder: Path, row_ids: pa.Array, failures: list[str | None]) -> Losses:
    losses = read_losses(folder / LEDGER, row_ids)
    for at, failure in enumerate(losses.failures):
        failures[at] = failures[at] or failure
    return losses


def _json_number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _refuse_nothing(values: np.ndarray, folder: Path) -> None:
    if not np.isfinite(values).any():
        raise UserError(f"no row of the pool has a loss; see {folder / LEDGER} for the reasons")
