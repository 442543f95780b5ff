"""Rows drawn at random among those that another arm did not take."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from selectit.config import ArmConfig, Need, NeedsArm, execution
from selectit.selection.ranking import random_scores
from selectit.selection.strategy import TAKEN, Candidates, RatioStrategy, Scored


class RandomRestSelect(RatioStrategy):
    """Uniform without replacement among the rows that another arm did not take."""

    draws: ClassVar[bool] = True

    strategy: Literal["random_rest"]
    rest_of: str = execution(...)
    """Name of the arm whose selection is left out; the identity holds what it selected, not its name."""

    def needs(self) -> tuple[Need, ...]:
        return (NeedsArm("rest_of", self.rest_of, leaves_out=True),)

    def score_name(self) -> None:
        return None

    def scores(self, pool: Candidates) -> Scored:
        taken = np.flatnonzero(pool.taken_by("rest_of")).tolist()
        drawn = random_scores(pool.row_ids, pool.seed, self.strategy)
        return Scored(drawn, left_out=dict.fromkeys(taken, TAKEN))

    def sentence(self, arm: ArmConfig) -> str:
        return f"uniform among the rows that {self.rest_of} did not take"
