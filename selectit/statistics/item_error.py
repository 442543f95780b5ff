"""What the choice of items contributes to the error of a row's value, or of the difference of two rows.

Plain numbers in, plain numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selectit.statistics.equivalence import item_deviation, paired_variance
from selectit.statistics.items import Units

ROUNDING = 1e-20
"""A variance that is 0 on paper, of fractions."""


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
