"""Where the spread over seeds comes from: variance components of the selection, training and evaluation seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

PURPOSES = ("select", "train", "eval")
REST = "rest"


def variance_components(values: Mapping[tuple[int, int, int], float]) -> dict[str, float]:
    """Standard deviation that each purpose's seeds contribute by themselves, and that of the rest.

    The rest is what no single purpose explains: above all, that another subset makes another training of one seed. A
    selection whose draw does not matter has 0, however noisy training is. A negative estimate is 0.

    Args:    values: (select, train, eval seed) -> value.
    Returns: purpose or `rest` -> standard deviation; empty unless two purposes have several seeds and every combination
             of them has a value.
    Source:  expected mean squares of a balanced random-effects layout without replication, such as Searle, Casella and
             McCulloch, Variance Components (1992).
    """
    levels = [sorted({seeds[at] for seeds in values}) for at in range(len(PURPOSES))]
    varied = [at for at, seeds in enumerate(levels) if len(seeds) > 1]
    if len(varied) < 2 or len(values) < np.prod([len(seeds) for seeds in levels]):
        return {}
    grid = np.empty([len(seeds) for seeds in levels])
    for seeds, value in values.items():
        grid[tuple(levels[at].index(seed) for at, seed in enumerate(seeds))] = value
    apart = grid - grid.mean()
    squares, freedom = {}, {}
    for at in varied:
        others = tuple(axis for axis in range(grid.ndim) if axis != at)
        squares[at] = float((apart.mean(axis=others) ** 2).sum()) * grid.size / grid.shape[at]
        freedom[at] = grid.shape[at] - 1
    rest = (float((apart**2).sum()) - sum(squares.values())) / (grid.size - 1 - sum(freedom.values()))
    rest = max(0.0, rest)  # a sum of squares of exactly 0 may come out below it
    found = {PURPOSES[at]: max(0.0, squares[at] / freedom[at] - rest) / (grid.size / grid.shape[at]) for at in varied}
    return {name: variance**0.5 for name, variance in (found | {REST: rest}).items()}
