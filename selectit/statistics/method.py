"""Does one method beat another? Training seeds and items are both samples, and the error of a difference holds both.

A run is one trained model on the items of a benchmark. Its score differs from the next run's because of the training
seed, the selection seed, and the items that happen to be in the benchmark. A test over items alone is about the models
that were trained; the test of this module is about the method that trained them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import optimize, stats

from selectit.statistics import ALPHA, CONFIDENCE
from selectit.statistics.equivalence import POWER, Error
from selectit.statistics.item_error import ItemError

SMALLEST_P = 1e-12


@dataclass(frozen=True)
class Spread:
    """The variance of a mean or a difference, in independent parts that are known differently well."""

    parts: tuple[Error, ...]

    @property
    def error(self) -> float:
        """Standard error."""
        return sum(part.variance for part in self.parts) ** 0.5

    def reach(self, alpha: float) -> float:
        """How far an interval of level 1 - alpha extends to both sides.

        Few seeds have a large critical value, many items a small one; the sum takes a mean weighted by variance.
        Satterthwaite's degrees of freedom let a variance over few seeds that is small by luck count as well known.

        Source: Cochran and Cox, Experimental Designs (1950), which keeps the level (docs/results.md); of two seeds by
                requiring each part's own interval too.
        """
        values = [(part.variance, float(stats.t.isf(alpha / 2, part.freedom))) for part in self.parts if part.variance]
        if not values:
            return 0.0
        weighted = sum(variance * critical for variance, critical in values) / sum(variance for variance, _ in values)
        return max(weighted * self.error, *(critical * variance**0.5 for variance, critical in values))

    def p(self, difference: float) -> float:
        """Two-sided: the level at which the interval just holds 0."""
        if difference == 0:
            return 1.0
        if self.reach(SMALLEST_P) <= abs(difference):
            return SMALLEST_P
        logarithm = optimize.brentq(
            lambda x: self.reach(math.exp(x)) - abs(difference), math.log(SMALLEST_P), 0.0, xtol=1e-10
        )
        return math.exp(float(logarithm))


def spread(over_seeds: Sequence[Error], items: ItemError) -> Spread:
    """When both seeds and items are drawn anew; never less than over items alone.

    The variance over seeds holds the noise of single runs already, so the choice of items adds what is left of the
    variance over items. Where seeds are equal by luck, the noise of runs takes the place of their spread.

    Args: over_seeds: none where there is one training seed or no training: then items alone.
    """
    if not over_seeds:
        return Spread((Error(items.over_items, items.degrees_of_freedom),))
    seeds = sum(part.variance for part in over_seeds)
    added = max(0.0, items.over_items - items.run_noise)
    total = max(seeds, items.run_noise) + added
    return Spread((*over_seeds, Error(total - seeds, items.degrees_of_freedom)))


@dataclass(frozen=True)
class Inference:
    """A difference with its error, and the test against 0."""

    difference: float
    error: float
    p: float
    low: float
    high: float


def infer(difference: float, found: Spread) -> Inference:
    """The difference with its 95 % interval."""
    reach = found.reach(1 - CONFIDENCE)
    return Inference(difference, found.error, found.p(difference), difference - reach, difference + reach)


def detectable(found: Spread, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference that the test finds with this power, by the t distribution of its critical value."""
    critical = found.reach(alpha) / found.error
    freedom = _freedom_of(critical, alpha)

    def missing(shift: float) -> float:
        return power - float(stats.nct.sf(critical, freedom, shift))

    upper = critical + 2.0
    while missing(upper) > 0:
        upper *= 2
    return found.error * float(optimize.brentq(missing, 0.0, upper, xtol=1e-6))


def _freedom_of(critical: float, alpha: float) -> float:
    """Degrees of freedom of the t distribution with this two-sided critical value."""
    most = 1e6
    if critical <= stats.t.isf(alpha / 2, most):
        return most
    return float(optimize.brentq(lambda f: float(stats.t.isf(alpha / 2, f)) - critical, 0.5, most))


def is_equivalent(difference: float, found: Spread, margin: float) -> bool:
    """Two one-sided tests at ALPHA: the difference is less than `margin` in either direction.

    Source: Schuirmann (1987).
    """
    return abs(difference) + found.reach(2 * ALPHA) < margin
