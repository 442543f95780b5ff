"""Rows that stand for all rows: greedy facility location."""

from __future__ import annotations

import heapq

import numpy as np

from selectit.selection.diversity.distances import squared_distances, squared_lengths

MOST_KEPT = 2**28
"""Entries of the kernel that are kept (1 GiB); with more rows its columns are computed when they are asked for."""
AT_ONCE = 32
"""Gains that are computed anew together."""


class Kernel:
    """1 - exp(-|x_i - x_j| / width): what i lacks where j stands for it.

    The complement of the similarity, for at these widths all similarities are near 1 and float32 would keep little of
    their differences. Its entries are multiples of a power of 2, so small that sums of them are exact in float64: two
    rows that are each other's only gain exactly the same, and a gain does not depend on the order of the rows.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors, self._lengths = vectors, squared_lengths(vectors)
        num_rows = len(vectors)
        self._per_unit = 2.0 ** (53 - num_rows.bit_length())
        self._kept = self._computed(np.arange(num_rows)) if num_rows**2 <= MOST_KEPT else None

    def __len__(self) -> int:
        return len(self._vectors)

    def of(self, positions: np.ndarray) -> np.ndarray:
        """float32 [num_positions, num_rows]"""
        return self._computed(positions) if self._kept is None else self._kept[positions]

    def _computed(self, positions: np.ndarray) -> np.ndarray:
        found = np.empty((len(positions), len(self)), dtype=np.float32)
        for start in range(0, len(positions), AT_ONCE):
            some = positions[start : start + AT_ONCE]
            squared = squared_distances(self._vectors, self._lengths, some).T
            lacking = -np.expm1(np.sqrt(squared, dtype=np.float64) / -self._vectors.shape[1])
            found[start : start + AT_ONCE] = np.rint(lacking.astype(np.float32) * self._per_unit) / self._per_unit
        return found


def facility_location(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedily the row that adds most to f(S), the sum over all rows of their similarity to the nearest row of S.

    The similarity is exp(-|x_i - x_j| / width). A gain never rises while S grows, so a gain computed earlier is a
    bound: only rows whose bound is the largest are computed anew (lazy greedy), and the order is that of plain greedy.

    Args:    vectors: float32 [num_rows, width]; count: how many are taken, at most num_rows.
    Returns: int64 [count] positions in the order in which they are taken; float64 [count], what each adds to f. Of
        equal gains the earlier row comes first.
    Source:  tianyi-lab/Superfiltering at f0764af, code_diversity_fla/do_fla.py, submodlib's FacilityLocation with the
        metric euclidean.
    """
    kernel = Kernel(vectors)
    lacking = np.ones(len(kernel), dtype=np.float64)  # 1 - similarity to the nearest row of S; S is empty

    def gains(positions: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.maximum(lacking - kernel.of(positions), 0).sum(axis=1)
        return total

    bounds: list[
        tuple[float, int, int]
    ] = []  # minus a bound of a gain, position, number of rows taken when it was computed
    for start in range(0, len(kernel), AT_ONCE):
        some = np.arange(start, min(start + AT_ONCE, len(kernel)))
        bounds += [(-gain, at, 0) for at, gain in zip(some.tolist(), gains(some).tolist(), strict=True)]
    heapq.heapify(bounds)
    taken: list[int] = []
    added: list[float] = []
    while len(taken) < count:
        stale: list[int] = []
        while bounds and bounds[0][2] < len(taken) and len(stale) < AT_ONCE:
            stale.append(heapq.heappop(bounds)[1])
        if stale:
            for at, gain in zip(stale, gains(np.array(stale)).tolist(), strict=True):
                heapq.heappush(bounds, (-gain, at, len(taken)))
            continue
        gain, best, _ = heapq.heappop(bounds)
        np.minimum(lacking, kernel.of(np.array([best]))[0], out=lacking)
        taken.append(best)
        added.append(-gain)
    return np.array(taken), np.array(added)
