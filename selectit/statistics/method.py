"""Does one method beat another? Training seeds and items are both samples, and the error of a difference holds both.

A run is one trained model on the items of a benchmark. Its score differs from the next run's because of the training
seed, the selection seed, and the items that happen to be in the benchmark. A test over items alone is about the models
that were trained; the test here is about the method that trained them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from selectit.statistics import ALPHA, CONFIDENCE
from selectit.statistics.equivalence import POWER, Error, item_deviation, joined, paired_variance
from selectit.statistics.items import Units

SMALLEST_P = 1e-12
ROUNDING = 1e-20
"""A variance that is 0 on paper, of fractions."""


@dataclass(frozen=True)
class RowValues:
    """The runs of one row on one benchmark, or on the average of several."""

    seeds: tuple[tuple[int, int], ...]
    """(selection seed, training seed) of each run, evaluation seeds averaged; empty for a model that is not trained."""
    values: np.ndarray
    """float64 [num_runs]; one value where `seeds` is empty."""

    @property
    def is_fixed(self) -> bool:
        return not self.seeds

    @property
    def num_train_seeds(self) -> int:
        return len({train for _, train in self.seeds})


@dataclass(frozen=True)
class SeedError:
    """What seeds contribute to the error of a mean or of a difference of means."""

    difference: float
    """Of the runs that are compared: of the shared training seeds where the test is paired."""
    errors: tuple[Error, ...]
    """One, or that of each row where they are known differently well."""
    paired: bool
    num_seeds: int
    """Training seeds: of the pairs, else of the row with fewer."""


def is_by_run(runs: RowValues, base: RowValues) -> bool:
    """Whether the two are paired run by run: both have the same selection and training seeds."""
    return runs.seeds == base.seeds and runs.num_train_seeds > 1


def seed_error(runs: RowValues, base: RowValues) -> SeedError | None:
    """The difference of two rows and its variance over seeds.

    Paired on the training seeds that both rows have, where there are two or more; else Welch's. A row's selection seeds
    are averaged within a training seed (or paired, where both rows have the same), and where they are crossed with the
    training seeds, what the draw of the subset contributes is added.

    Returns: None where a trained row has one training seed, where neither row is trained, or where the spread of the
        draw is not known (see `lacks_draws`).
    """
    if base.is_fixed or runs.is_fixed:
        trained, fixed = (runs, base) if base.is_fixed else (base, runs)
        if trained.num_train_seeds < 2 or lacks_draws(trained):
            return None
        mean, error = _mean_over_seeds(trained)
        sign = 1 if base.is_fixed else -1
        return SeedError(sign * (mean - fixed.values.mean()), (error,), False, trained.num_train_seeds)
    if is_by_run(runs, base):
        if lacks_draws(runs):
            return None
        mean, error = _mean_over_seeds(RowValues(runs.seeds, runs.values - base.values))
        return SeedError(mean, (error,), True, runs.num_train_seeds)
    shared = sorted({train for _, train in runs.seeds} & {train for _, train in base.seeds})
    if len(shared) > 1:
        ours, theirs = _keep(runs, shared), _keep(base, shared)
        if lacks_draws(ours) or lacks_draws(theirs):
            return None
        (own, own_select), (other, other_select) = _by_train_seed(ours), _by_train_seed(theirs)
        train = Error(float(np.var(own - other, ddof=1)) / len(shared), len(shared) - 1)
        error = _together([train, own_select, other_select])
        return SeedError(float((own - other).mean()), (error,), True, len(shared))
    if min(runs.num_train_seeds, base.num_train_seeds) < 2 or lacks_draws(runs) or lacks_draws(base):
        return None
    ours_mean, ours_error = _mean_over_seeds(runs)
    base_mean, base_error = _mean_over_seeds(base)
    num_seeds = min(runs.num_train_seeds, base.num_train_seeds)
    return SeedError(ours_mean - base_mean, _of_two_rows(ours_error, base_error), False, num_seeds)


def _of_two_rows(one: Error, other: Error) -> tuple[Error, ...]:
    """Of independent rows: joined as Welch does where both have as many degrees of freedom; else one by one.

    Welch's test of 2 seeds against 5 calls equal methods different in 6 to 10 % of tables; `Spread` weighs the two
    critical values, which keeps the level.
    """
    if one.freedom != other.freedom:
        return one, other
    deviation, freedom = joined([one, other])
    return (Error(deviation**2, min(freedom, one.freedom + other.freedom)),)  # infinite where no seed differs


def lacks_draws(runs: RowValues) -> bool:
    """Whether runs that failed leave fewer than two training seeds with every draw of the subset.

    Then nothing estimates what the draw contributes to the error; without it up to 22 % of equal methods were called
    different in simulated tables. Lists in step have one draw for each training seed, and their spread holds it.
    """
    draws = Counter(train for _, train in runs.seeds)
    num_draws = len({select for select, _ in runs.seeds})
    return max(draws.values()) > 1 and sum(number == num_draws for number in draws.values()) < 2


def own_error(runs: RowValues) -> tuple[Error, ...]:
    """Error over seeds of a row's mean; empty where there is one training seed or none."""
    return () if runs.num_train_seeds < 2 else (_mean_over_seeds(runs)[1],)


def _keep(runs: RowValues, train_seeds: Sequence[int]) -> RowValues:
    kept = [at for at, (_, train) in enumerate(runs.seeds) if train in train_seeds]
    return RowValues(tuple(runs.seeds[at] for at in kept), runs.values[kept])


def _mean_over_seeds(runs: RowValues) -> tuple[float, Error]:
    by_seed, select = _by_train_seed(runs)
    train = Error(float(np.var(by_seed, ddof=1)) / len(by_seed), len(by_seed) - 1)
    return float(by_seed.mean()), _together([train, select])


def _by_train_seed(runs: RowValues) -> tuple[np.ndarray, Error]:
    """float64 [num_train_seeds], and what crossed selection seeds add to the variance of the mean over all.

    Averages over the same draws of the subset do not spread with the draw. Its variance is the two-way layout's:
    mean square of the draws less that of the residual, over all runs; below 0 it is 0.
    """
    selects, trains = (sorted({seeds[at] for seeds in runs.seeds}) for at in (0, 1))
    value = dict(zip(runs.seeds, runs.values, strict=True))
    by_seed = np.array([np.mean([v for (_, t), v in value.items() if t == train]) for train in trains])
    whole = [train for train in trains if all((select, train) in value for select in selects)]
    if len(selects) < 2 or len(whole) < 2:  # lists in step, or one draw
        return by_seed, Error(0.0, 0.0)
    grid = np.array([[value[s, t] for t in whole] for s in selects])  # [num_select_seeds, num_train_seeds]
    draws, residual = _mean_squares(grid)
    return by_seed, Error(max(0.0, draws - residual) / grid.size, len(selects) - 1)


def _mean_squares(grid: np.ndarray) -> tuple[float, float]:
    """Mean square of the rows and of the residual of a two-way layout with one value in a cell."""
    rows, columns = grid.mean(axis=1), grid.mean(axis=0)
    rest = grid - rows[:, None] - columns[None, :] + grid.mean()
    num_rows, num_columns = grid.shape
    return (
        float(num_columns * np.var(rows, ddof=1)),
        float((rest**2).sum() / ((num_rows - 1) * (num_columns - 1))),
    )


def _together(parts: Sequence[Error]) -> Error:
    """The sum with the fewest degrees of freedom of any part.

    Satterthwaite's, which are more, let a variance that is small by luck count as well known: with two selection seeds
    7 % of equal methods were called different.
    """
    known = [part for part in parts if part.freedom > 0]
    return Error(sum(part.variance for part in known), min(part.freedom for part in known))


@dataclass(frozen=True)
class ItemError:
    """What items contribute to the error of a mean over runs, or of a difference of two."""

    over_items: float
    """Variance if the items were drawn anew and the models stayed."""
    run_noise: float
    """The part of it that comes from runs answering items differently by luck, which another run would not repeat."""
    degrees_of_freedom: float


def item_error(units: Units, columns: Sequence[int], base: Sequence[int] = (), *, by_run: bool = False) -> ItemError:
    """Of a row's own mean, or of its difference to another row.

    Items that are all answered alike, or that all differ alike, are not known exactly: 0 of 12 is not 0 ± 0.

    Args:
        units:   the sums of every run, [num_units, num_runs of all rows].
        columns: runs of the row; base: of the other row, none for the row's own mean.
        by_run:  both have the same runs, in the same order, and are paired run by run.
    """
    ours = units.sums[:, list(columns)]
    theirs = units.sums[:, list(base)] if len(base) else np.zeros((len(units.sums), 1))
    means = ours.mean(axis=1) - theirs.mean(axis=1)
    total = float(_variance_over_units(units, means[:, None])[0])
    if total <= ROUNDING:
        value = float(means.sum())
        alike = (item_deviation(100 * value, units.num_items) / 100) ** 2
        total = paired_variance(value, units.num_items) if len(base) else alike
    noise = sum(_run_noise(units, side) for side in ([ours - theirs] if by_run else [ours, theirs]))
    counts = np.bincount(units.strata)
    freedom = float((counts[counts > 1] - 1).sum())
    return ItemError(total, noise, max(freedom, 1.0))  # with one item in each task nothing is left over


def mean_item_error(parts: Sequence[ItemError]) -> ItemError:
    """Of the plain mean over benchmarks, whose items have nothing to do with each other."""
    share = 1 / len(parts) ** 2
    return ItemError(
        share * sum(part.over_items for part in parts),
        share * sum(part.run_noise for part in parts),
        min(part.degrees_of_freedom for part in parts),
    )


def _run_noise(units: Units, sums: np.ndarray) -> float:
    """Variance of a mean over runs that comes from items being answered differently in each run."""
    num_runs = sums.shape[1]
    if num_runs < 2:
        return 0.0
    apart = sums - sums.mean(axis=1, keepdims=True)
    return float(_variance_over_units(units, apart).sum() / (num_runs - 1) / num_runs)


def _variance_over_units(units: Units, sums: np.ndarray) -> np.ndarray:
    """float64 [num_columns]: variance of the benchmark's value when units are drawn anew, within their strata.

    Args: sums: float64 [num_units, num_columns], weighted scores of each unit's items.
    """
    total = np.zeros(sums.shape[1])
    for stratum in np.unique(units.strata):
        members = units.strata == stratum
        number = int(members.sum())
        if number < 2:
            continue
        weights, own = units.weights[members], sums[members]
        apart = own - weights[:, None] * (own.sum(axis=0) / weights.sum())  # the ratio estimator's residuals
        total += number / (number - 1) * (apart**2).sum(axis=0)
    return total


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
