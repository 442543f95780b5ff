"""Rows that are like no better row: DEITA's filter."""

from __future__ import annotations

import numpy as np

BLOCK_ROWS = 256


def cosine_filter(vectors: np.ndarray, threshold: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Walks through the rows, best first, and keeps a row where its cosine with no kept row is above the threshold.

    Args:
        vectors: float32 [num_rows, width], best first; a vector of zeros is like none.
        count: rows after which the walk ends.
    Returns: int64 positions of the kept rows, in order; int64 positions of the rows that were met and not kept.
    Source:  hkust-nlp/deita at b279f2c, src/deita/selection/filter, batch size 1, which is the definition: with larger
        batches its code also drops rows for being like a dropped one. Cosines are float32, as there.
    """
    kept_vectors = np.empty((min(count, len(vectors)), vectors.shape[1]), dtype=np.float32)
    kept: list[int] = []
    dropped: list[int] = []
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = normalised(vectors[start : start + BLOCK_ROWS])
        before = len(kept)
        alike = np.asarray((block @ kept_vectors[:before].T > threshold).any(axis=1))  # [block]
        within: np.ndarray = block @ block.T > threshold
        kept_here: list[int] = []
        for at in range(len(block)):
            if alike[at] or within[at, kept_here].any():
                dropped.append(start + at)
                continue
            kept_vectors[len(kept)] = block[at]
            kept.append(start + at)
            kept_here.append(at)
            if len(kept) == count:
                return np.array(kept), np.array(dropped, dtype=np.int64)
    return np.array(kept), np.array(dropped, dtype=np.int64)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """float32, each vector at length 1; zeros stay."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    unit: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
