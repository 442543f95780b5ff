"""Rows drawn at random."""

from __future__ import annotations

from typing import ClassVar, Literal

from selectit.config import ArmConfig
from selectit.selection.ranking import random_scores
from selectit.selection.strategy import Candidates, RatioStrategy, Scored


class RandomSelect(RatioStrategy):
    """Uniform without replacement over row ids, with the selection seed."""

    draws: ClassVar[bool] = True

    strategy: Literal["random"]

    def score_name(self) -> None:
        return None

    def scores(self, pool: Candidates) -> Scored:
        return Scored(random_scores(pool.row_ids, pool.seed, self.strategy))

    def sentence(self, arm: ArmConfig) -> str:
        return "uniform without replacement"
