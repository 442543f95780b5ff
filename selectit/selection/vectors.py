"""The vectors of a pool's rows that a method by vectors reads.

Reads the .npy file that it names, or the features of a losses stage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selectit.errors import UserError
from selectit.selection.diversity.methods import ByVectors, Rows
from selectit.selection.strategy import Candidates

NOT_FINITE = "vector_not_finite"
BLOCK_ROWS = 4096


def check(method: ByVectors, num_rows: int) -> None:
    """Raises: UserError for a file that is no such matrix, or one of another number of rows."""
    if method.path is not None:
        _of_file(Path(method.path), num_rows)


def _of_file(path: Path, num_rows: int) -> np.ndarray:
    """Not read yet: a number type that becomes float32, [num_rows, width]."""
    form = f"it must be a matrix of numbers with a row for each of the {num_rows} rows of the pool (numpy.save)"
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a .npy file ({error}); {form}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.ndim != 2 or not found.shape[1]:
        kind = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise UserError(f"{path}: found {kind}; {form}")
    if len(found) != num_rows:
        raise UserError(f"{path}: found {len(found)} rows; {form}, in its order")
    return found


def _opened(method: ByVectors, pool: Candidates, name: str) -> np.ndarray:
    return pool.features(name) if method.path is None else _of_file(Path(method.path), len(pool))


def without_vector(method: ByVectors, pool: Candidates, name: str) -> dict[int, str]:
    """Position -> why a usable row has no vector. Args: name: under which the model's vectors were asked for."""
    vectors, lost = _opened(method, pool, name), dict[int, str]()
    for start in range(0, len(vectors), BLOCK_ROWS):
        finite = np.isfinite(_float32(vectors[start : start + BLOCK_ROWS])).all(axis=1)
        lost |= {start + at: NOT_FINITE for at in np.flatnonzero(~finite).tolist() if not pool.failures[start + at]}
    if method.path is None and lost:
        why = pool.losses(name).failures
        lost = {at: why[at] or reason for at, reason in lost.items()}
    return lost


def rows_with_vectors(
    method: ByVectors, pool: Candidates, name: str, positions: np.ndarray, scores: np.ndarray, numbers: np.ndarray
) -> Rows:
    """Args:
    positions: int64, places in the pool, best first.
    scores, numbers: float64 [num_rows of the pool].
    """
    vectors = np.ascontiguousarray(_float32(_opened(method, pool, name)[positions]))
    return Rows(vectors, positions, scores[positions], numbers[positions], pool.stage.seed or 0)


def _float32(vectors: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(vectors, dtype=np.float32)
