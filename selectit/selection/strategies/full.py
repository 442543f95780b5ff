"""Every usable row."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from selectit.config import ArmConfig
from selectit.selection.strategy import Candidates, Scored, Strategy


class FullSelect(Strategy):
    """Every usable row."""

    takes_all: ClassVar[bool] = True

    strategy: Literal["full"]

    def score_name(self) -> None:
        return None

    def scores(self, pool: Candidates) -> Scored:
        return Scored(np.ones(len(pool)))

    def sentence(self, arm: ArmConfig) -> str:
        return "every usable row"
