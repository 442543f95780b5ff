"""What a comparison of a row with the baseline row holds, and the words that the table uses for it.

Plain data, so that a report that stands is told again without computing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["better", "worse", "no difference shown", "not compared"]


@dataclass(frozen=True)
class Comparison:
    """One row against its baseline on one benchmark, or on the average. Numbers are fractions."""

    row: str
    baseline: str
    benchmark: str
    """`average`: the mean over the benchmarks of the table's average."""
    num_items: int | None = None
    num_runs: int | None = None
    """Evaluations of the row (one for each combination of seeds), over which every item's score is averaged."""
    num_baseline_runs: int | None = None
    difference: float | None = None
    low: float | None = None
    """95 % interval of the difference, not corrected for the number of comparisons."""
    high: float | None = None
    unit: str = ""
    """What is resampled as a whole: item or task."""
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    word: Word = "not compared"
    reason: str = ""
    """Why there is no comparison."""


@dataclass(frozen=True)
class ValueInterval:
    """95 % interval of a row's own value over resampled items; fractions."""

    row: str
    benchmark: str
    low: float
    high: float


@dataclass(frozen=True)
class Comparisons:
    found: tuple[Comparison, ...]
    values: tuple[ValueInterval, ...]

    @property
    def tested(self) -> tuple[Comparison, ...]:
        """The family of Holm's correction: every comparison of the table that has a p-value."""
        return tuple(c for c in self.found if c.p is not None)

    def of(self, row: str, benchmark: str) -> Comparison | None:
        return next((c for c in self.found if (c.row, c.benchmark) == (row, benchmark)), None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Comparisons:
        return cls(tuple(Comparison(**c) for c in record["found"]), tuple(ValueInterval(**v) for v in record["values"]))
