"""Rows that cover all rows at the smallest distance: greedy k-center."""

from __future__ import annotations

import numpy as np

from selectit.selection.diversity.distances import squared_distances, squared_lengths


def k_center(vectors: np.ndarray, num_start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedily the row that is farthest from the rows that are taken.

    Args:
        vectors: float32 [num_rows, width]; num_start: of the first ones, which are taken to begin with.
        count: how many are taken, at most num_rows.
    Returns: int64 [count] positions in the order in which they are taken; float64 [count], the Euclidean distance of
        each to the nearest row taken before it (NaN at the start, then never rising). Of equal distances the earlier
        row comes first.
    Source:  OFA-Sys/DiverseEvol at a22e952, evol_schedules/kcenter_sampling.py (its 100 drawn rows at the start);
        CASIA-LM/MoDS at 7d179bd has one. Distances are clamped at 0, where theirs can become NaN.
    """
    lengths = squared_lengths(vectors)
    taken = list(range(min(num_start, count)))
    nearest = np.full(len(vectors), np.inf, dtype=np.float32)
    for start in range(0, len(taken), 64):
        some = np.array(taken[start : start + 64])
        np.minimum(nearest, squared_distances(vectors, lengths, some).min(axis=1), out=nearest)
    nearest[taken] = -1  # never again
    distances = [np.nan] * len(taken)
    while len(taken) < count:
        farthest = int(np.argmax(nearest))
        taken.append(farthest)
        distances.append(float(np.sqrt(nearest[farthest])))
        np.minimum(nearest, squared_distances(vectors, lengths, np.array([farthest]))[:, 0], out=nearest)
        nearest[farthest] = -1
    return np.array(taken), np.array(distances)
