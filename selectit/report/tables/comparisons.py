"""What a comparison of two rows holds, and the words that the table uses for it.

Plain data, so that a report that stands is shown again without computing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["better", "worse", "equivalent", "not significant", "too few seeds", "not compared"]
"""All but the last two are statements about the method, over training seeds and items."""


@dataclass(frozen=True)
class Comparison:
    """One row against a baseline on one benchmark, or on the average. Numbers are fractions.

    Fields that begin with `items_` are of a test over the items alone: what it finds is true of the models that were
    trained, and is no statement about the method with other training seeds.
    """

    row: str
    baseline: str
    benchmark: str
    """`average`: the mean over the benchmarks of the table's average."""
    primary: bool = False
    """The comparison that the recipe names in advance; it is tested alone, without a correction."""
    difference: float | None = None
    """Of the means over all runs."""
    error: float | None = None
    """Standard error over training seeds and items; None where one of the rows has a single training seed."""
    low: float | None = None
    """95 % interval of the difference of the methods, not corrected for the number of comparisons."""
    high: float | None = None
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    """Corrected over all distinct comparisons of the table; of the primary one, p itself."""
    word: Word = "not compared"
    detectable: float | None = None
    """The smallest difference that would have been found with a chance of 80 %, at the level that Holm's correction
    asks for first."""
    num_seeds: int | None = None
    """Training seeds of the test."""
    num_runs: int | None = None
    num_baseline_runs: int | None = None
    num_items: int | None = None
    items_test: str = ""
    items_unit: str = ""
    """What is resampled as a whole: item or task."""
    items_p: float | None = None
    items_p_holm: float | None = None
    items_low: float | None = None
    """95 % interval of the difference of these trained models over items."""
    items_high: float | None = None
    reason: str = ""
    """Why there is no comparison, or why it is no statement about the method."""


@dataclass(frozen=True)
class RowError:
    """The standard error of a row's value; a fraction."""

    row: str
    benchmark: str
    error: float
    num_seeds: int
    """Training seeds; with one, and for a model that is not trained, the error is that over the items alone."""


@dataclass(frozen=True)
class Comparisons:
    found: tuple[Comparison, ...]
    errors: tuple[RowError, ...]
    num_corrected: int = 0
    """Distinct comparisons of methods that Holm's correction is taken over; rows of equal subsets count once."""

    @property
    def tested(self) -> tuple[Comparison, ...]:
        """Those that are a statement about the method."""
        return tuple(c for c in self.found if c.p is not None)

    @property
    def tested_over_items(self) -> tuple[Comparison, ...]:
        return tuple(c for c in self.found if c.items_p is not None)

    def of(self, row: str, benchmark: str, baseline: str | None = None) -> Comparison | None:
        """The comparison with a baseline; without one, with the first."""
        own = (c for c in self.found if (c.row, c.benchmark) == (row, benchmark))
        return next((c for c in own if baseline in (None, c.baseline)), None)

    def error_of(self, row: str, benchmark: str) -> RowError | None:
        return next((e for e in self.errors if (e.row, e.benchmark) == (row, benchmark)), None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Comparisons:
        found = tuple(Comparison(**c) for c in record["found"])
        return cls(found, tuple(RowError(**e) for e in record["errors"]), record["num_corrected"])
