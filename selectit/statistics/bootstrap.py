"""Paired bootstrap: the same drawn units for every row of the table, so that a difference keeps its pairs."""

from __future__ import annotations

import numpy as np

from selectit.statistics import CONFIDENCE
from selectit.statistics.items import Units
from selectit.statistics.paired import CHUNK_BYTES, TOLERANCE

NUM_RESAMPLES = 10_000


def resample(units: Units, rng: np.random.Generator, num_resamples: int = NUM_RESAMPLES) -> np.ndarray:
    """The benchmark's value of each column, of drawn units.

    Returns: float64 [num_resamples, num_columns].
    """
    strata = [np.flatnonzero(units.strata == stratum) for stratum in np.unique(units.strata)]
    size = max(1, CHUNK_BYTES // (16 * len(units.weights)))
    values = []
    for start in range(0, num_resamples, size):
        counts = _counts(strata, len(units.weights), min(size, num_resamples - start), rng)
        values.append(counts @ units.sums / (counts @ units.weights)[:, None])
    return np.concatenate(values)


def _counts(strata: list[np.ndarray], num_units: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """float64 [draws, num_units]: how often each unit was drawn."""
    counts = np.empty((draws, num_units))
    offset = np.arange(draws)[:, None]
    for members in strata:
        drawn = rng.integers(0, len(members), (draws, len(members)))
        flat = np.bincount((drawn + offset * len(members)).ravel(), minlength=draws * len(members))
        counts[:, members] = flat.reshape(draws, len(members))
    return counts


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Percentile interval; None where all draws are equal, for then the items say nothing of the spread.

    Args: values: float64 [num_resamples].
    """
    if np.ptp(values) < TOLERANCE:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
