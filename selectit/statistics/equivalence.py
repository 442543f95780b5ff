"""Does a value agree with a published one: two one-sided tests, the errors of both sides joined.

Plain numbers in, plain numbers out, all in one unit (the report's is points); what is compared with what is decided in
`selectit.report.sections.verdicts`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student

from selectit.statistics import ALPHA, CONFIDENCE
from selectit.statistics.search import smallest

Verdict = Literal["agrees", "differs", "too imprecise to tell"]
LEAST_SEEDS = 3
"""Runs without which nothing is said: two give a spread with one degree of freedom."""
POWER = 0.8
"""Chance of `agrees` that the number of seeds or items is planned for, if there is no difference at all."""
MOST_SEEDS = 1000
MOST_ITEMS = 10**12


@dataclass(frozen=True)
class Error:
    """Variance of one side's mean, and the degrees of freedom that it is known with."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Equivalence:
    """A difference, ours minus theirs, with the results of the two tests."""

    difference: float
    low: float
    """Of the 95 % interval."""
    high: float
    inner_low: float
    """Of the 90 % interval, which two one-sided tests at 5 % are the same as."""
    inner_high: float
    verdict: Verdict

    @property
    def significant(self) -> bool:
        return not self.low <= 0 <= self.high


def error_of_mean(values: Sequence[float], resolution: float = 0.0) -> Error:
    """Error of the mean of independent runs.

    Args: resolution: what one item adds to a value. Runs that are equal by chance would give no error at all, so the
          spread is taken to be at least that of runs of which one differs by one item.
    """
    number = len(values)
    least = resolution**2 / number  # the sample variance of 0, ..., 0, resolution
    return Error(max(statistics.variance(values), least) / number, number - 1)


def error_of_published(std: float | None, num_seeds: int | None) -> Error | None:
    """None where the paper gives no error."""
    return None if std is None or num_seeds is None else Error(std**2 / num_seeds, num_seeds - 1)


def joined(errors: Sequence[Error]) -> tuple[float, float]:
    """Standard error of a difference, and its degrees of freedom.

    Source: Welch (1947), Satterthwaite (1946).
    """
    variance = sum(error.variance for error in errors)
    if variance == 0:
        return 0.0, math.inf
    return math.sqrt(variance), variance**2 / sum(e.variance**2 / e.freedom for e in errors if e.variance)


def compare(difference: float, errors: Sequence[Error], margin: float, slack: float = 0.0) -> Equivalence:
    """The verdict on a difference.

    `agrees`: both one-sided tests at 5 % reject a difference of the margin or more. `differs`: they do not, and the
    95 % interval does not hold 0. `too imprecise to tell`: neither.
    A difference inside the margin may be significant too.

    Args:   errors: those of both sides, as far as they are known; slack: what an interval is widened by at both ends.
    Source: two one-sided tests, Schuirmann (1987).
    """
    standard_error, freedom = joined(errors)
    outer, inner = (
        slack + (float(student.ppf(level, freedom)) * standard_error if standard_error else 0.0)
        for level in (1 - (1 - CONFIDENCE) / 2, 1 - ALPHA)
    )
    low, high = difference - outer, difference + outer
    inner_low, inner_high = difference - inner, difference + inner
    verdict: Verdict = "too imprecise to tell"
    if -margin < inner_low and inner_high < margin:
        verdict = "agrees"
    elif not low <= 0 <= high:
        verdict = "differs"
    return Equivalence(difference, low, high, inner_low, inner_high, verdict)


def item_deviation(value: float, num_items: int) -> float:
    """Standard deviation of a run's value, in percent, if its items were drawn; never 0, by two items of each answer.

    Args:   value: in percent, a mean over items of 0 to 1.
    Source: Agresti and Coull (1998).
    """
    share = (value / 100 * num_items + 2) / (num_items + 4)
    return 100 * math.sqrt(share * (1 - share) / num_items)


def paired_variance(difference: float, num_items: int) -> float:
    """Variance of the difference of two means over the same items, if each of four outcomes of an item (both right,
    one, the other, none) had half an item more; never 0.

    Args:   difference: a fraction; only one of the two has items to itself.
    Source: Agresti and Min (2005).
    """
    apart = abs(difference) * num_items
    return (apart + 1 - apart**2 / (num_items + 2)) / (num_items + 2) ** 2


def seeds_needed(deviation: float, margin: float, theirs: Error | None = None) -> int | None:
    """Runs that would be enough for `agrees` in four of five cases, if there is no difference.

    Args:    deviation: standard deviation over runs; theirs: error of the published value.
    Returns: None where no number up to 1,000 is enough.
    """

    def enough(number: int) -> bool:
        return _reach([Error(deviation**2 / number, number - 1), *([theirs] if theirs else [])]) < margin

    return smallest(enough, LEAST_SEEDS, MOST_SEEDS)


def items_needed(deviation: float, num_items: int, margin: float, num_seeds: int, theirs: Error | None = None) -> int:
    """Items that would be enough with this many runs, if a run's deviation falls with the root of the items.

    Args:    deviation: of a run with `num_items` items.
    Returns: 0 where no number is enough, because the error of the published value alone is too large.
    """

    def enough(items: int) -> bool:
        ours = Error(deviation**2 * num_items / items / num_seeds, num_seeds - 1)
        return _reach([ours, *([theirs] if theirs else [])]) < margin

    return smallest(enough, 1, MOST_ITEMS) or 0


def _reach(errors: Sequence[Error]) -> float:
    """The smallest margin that two one-sided tests reach with the planned power where there is no difference."""
    standard_error, freedom = joined(errors)
    tails = student.ppf([1 - ALPHA, (1 + POWER) / 2], freedom)
    return float(tails.sum()) * standard_error
