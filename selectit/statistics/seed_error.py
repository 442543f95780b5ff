"""What training and selection seeds contribute to the error of a row's value, or of the difference of two rows.

Plain numbers in, plain numbers out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selectit.statistics.equivalence import Error, joined


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
