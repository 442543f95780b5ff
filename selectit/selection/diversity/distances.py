"""Squared Euclidean distances of float32 vectors, without what rounding does to near duplicates."""

from __future__ import annotations

import numpy as np

BLOCK_ROWS = 512
SAME = 1e-12
"""Of the sum of both squared lengths: below it a squared distance is rounding, and 0."""


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """float64 [num_rows]"""
    lengths: np.ndarray = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return lengths


def squared_distances(vectors: np.ndarray, lengths: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each vector to each of a few others, computed in float64 and rounded to float32, so that equal vectors have
    equal distances; never negative, so no root of it is NaN.

    Args:
        vectors: float32 [num_rows, width]; lengths: their squared lengths.
        others: positions among them, int64 [num_others].
    Returns: float32 [num_rows, num_others].
    """
    second = vectors[others].astype(np.float64)
    found = np.empty((len(vectors), len(others)), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        both = lengths[block, None] + lengths[None, others]
        squared = both - 2 * (vectors[block].astype(np.float64) @ second.T)
        found[block] = np.where(squared < SAME * both, 0, squared)
    return found
