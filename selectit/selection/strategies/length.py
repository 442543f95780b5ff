"""The longest rows."""

from __future__ import annotations

from typing import ClassVar, Literal

from selectit.config import ArmConfig
from selectit.selection.lengths import Length
from selectit.selection.strategy import Candidates, RatioStrategy, Scored


class LengthSelect(Length, RatioStrategy):
    """The longest rows."""

    takes_longest: ClassVar[bool] = True

    strategy: Literal["length"]

    def score_name(self) -> str:
        what = "instruction and response" if self.field == "full" else self.field
        return f"length of the {what} ({self.unit})"

    def scores(self, pool: Candidates) -> Scored:
        return Scored(self.lengths(pool))

    def sentence(self, arm: ArmConfig) -> str:
        return f"the longest by {self.field} in {self.unit}"
