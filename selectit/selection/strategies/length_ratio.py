"""Rows by how long the response is for its instruction."""

from __future__ import annotations

from typing import Literal

import numpy as np

from selectit.config import ArmConfig
from selectit.selection.lengths import LengthUnit, length_scores
from selectit.selection.strategy import Candidates, RatioStrategy, Scored


class LengthRatioSelect(LengthUnit, RatioStrategy):
    """By the length of the response over that of the instruction."""

    strategy: Literal["length_ratio"]
    order: Literal["high", "low"] = "high"
    """high: long responses to short instructions; low: the other end."""

    def score_name(self) -> str:
        return f"{'minus the ' if self.order == 'low' else ''}response length over instruction length ({self.unit})"

    def scores(self, pool: Candidates) -> Scored:
        """All assistant turns over all user turns with their inputs, at least 1; this project's own definition."""
        count = self.counter(pool)
        response = length_scores(pool.rows(), "response", count)
        instruction = length_scores(pool.rows(), "instruction", count)
        ratios = response / np.maximum(instruction, 1)
        return Scored(
            -ratios if self.order == "low" else ratios,
            details=lambda at: {"response_length": int(response[at]), "instruction_length": int(instruction[at])},
        )

    def sentence(self, arm: ArmConfig) -> str:
        which = {"high": "the highest", "low": "the lowest"}[self.order]
        return f"{which} length of the response over that of the instruction, in {self.unit}"
