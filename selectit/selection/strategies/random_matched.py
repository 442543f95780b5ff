"""Rows drawn at random with the lengths of another arm's: the control for length."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from selectit.config import ArmConfig, Need, NeedsArm, execution
from selectit.selection.lengths import Length
from selectit.selection.ranking import random_scores
from selectit.selection.strategy import BIN_FULL, Candidates, Scored, Strategy


class RandomMatchedSelect(Length, Strategy):
    """Uniform among rows of the same length: as many rows as another arm took, with its distribution of lengths."""

    draws: ClassVar[bool] = True

    strategy: Literal["random_matched"]
    match: str = execution(...)
    """Name of the arm whose lengths are matched; the identity holds what it selected, not its name."""
    num_bins: int = Field(20, ge=1)
    """Bins of length, each with about as many rows of the other arm."""

    def needs(self) -> tuple[Need, ...]:
        return (NeedsArm("match", self.match), *super().needs())

    def score_name(self) -> None:
        return None

    def scores(self, pool: Candidates) -> Scored:
        """Random numbers; rows of a bin that is full are left out, so that exactly the others are taken."""
        drawn = random_scores(pool.row_ids, pool.seed, self.strategy)
        chosen = matched(drawn, self.lengths(pool), pool.usable, pool.taken_by("match"), self.num_bins)
        return Scored(drawn, left_out=dict.fromkeys(np.flatnonzero(pool.usable & ~chosen).tolist(), BIN_FULL))

    def sentence(self, arm: ArmConfig) -> str:
        return f"uniform, with the {self.field} lengths of {self.match} ({self.unit})"

    def expected_rows(self, num_rows: int, num_of_other: int) -> int:
        return num_of_other


def matched(
    scores: np.ndarray, lengths: np.ndarray, usable: np.ndarray, model: np.ndarray, num_bins: int
) -> np.ndarray:
    """The best-scored rows of each bin of length, as many as the model subset has there.

    The bins' edges are quantiles of the model subset's lengths. Its own rows may be drawn too, so that every
    bin has enough; rows shorter or longer than all of its rows are not.

    Args:
        scores, lengths: float64 [num_rows].
        usable: bool [num_rows], rows that may be taken.
        model: bool [num_rows], rows of the subset whose lengths are matched.
    Returns: bool [num_rows].
    """
    edges = np.unique(np.quantile(lengths[model], np.linspace(0, 1, num_bins + 1)))
    bins = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    usable = usable & (lengths >= edges[0]) & (lengths <= edges[-1])
    chosen = np.zeros(len(scores), dtype=bool)
    for number in np.unique(bins[model]):
        candidates = np.flatnonzero(usable & (bins == number))
        wanted = int((model & (bins == number)).sum())
        chosen[candidates[np.argsort(-scores[candidates], kind="stable")[:wanted]]] = True
    return chosen
