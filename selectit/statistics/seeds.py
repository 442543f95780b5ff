"""Where the spread over seeds comes from: each purpose (select, train, eval) at fixed seeds of the others."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

PURPOSES = ("select", "train", "eval")


def split_spread(values: Mapping[tuple[int, int, int], float]) -> dict[str, float]:
    """Standard deviation over the seeds of one purpose while the others stay, pooled over the others.

    Args:    values: (select, train, eval seed) -> value.
    Returns: purpose -> standard deviation; a purpose of which no two seeds share the other two is not in it.
    """
    found = {}
    for at, purpose in enumerate(PURPOSES):
        groups: dict[tuple[int, ...], list[float]] = {}
        for seeds, value in values.items():
            groups.setdefault(seeds[:at] + seeds[at + 1 :], []).append(value)
        repeated = [group for group in groups.values() if len(group) > 1]
        if repeated:
            found[purpose] = pooled_deviation(repeated)
    return found


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float:
    """Root of the sample variances' mean, each weighted by its degrees of freedom."""
    freedom = [len(group) - 1 for group in groups]
    variances = [statistics.variance(group) for group in groups]
    return (sum(f * v for f, v in zip(freedom, variances, strict=True)) / sum(freedom)) ** 0.5
