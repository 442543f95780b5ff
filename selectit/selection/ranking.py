"""From scores to an order and from a ratio to a count, the same way for every strategy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from selectit.data.row_ids import uniform_numbers
from selectit.errors import UserError


def random_scores(row_ids: pa.Array, seed: int, strategy: str) -> np.ndarray:
    """A uniform number per strategy, seed and row id, from sha256.

    The same row has the same number in any order of the pool, on any platform and library version, and at a
    larger ratio the same seed keeps what it had at a smaller one. Two strategies draw independently.

    Returns: float64 [num_rows] in [0, 1).
    """
    return uniform_numbers(strategy, seed, row_ids.to_numpy(zero_copy_only=False).tolist())


def ranking(scores: np.ndarray) -> list[int]:
    """Row indices from best to worst; of equal scores the later row comes first, NaN last.

    Source: the released SelectIT code sorts (score, row index) pairs in descending order.
    """
    comparable = np.where(np.isnan(scores), -np.inf, scores)
    ranked: list[int] = np.argsort(comparable, kind="stable")[::-1].tolist()
    return ranked


def num_selected(ratio: float, num_rows: int, num_eligible: int) -> int:
    """int(ratio * num_rows), as in the released code.

    Raises: UserError where that is no row, or more than the rows that may be taken.
    """
    count = int(ratio * num_rows)
    if count == 0:
        raise UserError(f"select.ratio {ratio} of {num_rows} rows is no row; raise it to at least {1 / num_rows:.3g}")
    if num_eligible == 0:
        raise UserError(f"none of the {num_rows} rows may be taken, so select.ratio {ratio} cannot be met")
    if count > num_eligible:
        raise UserError(
            f"select.ratio {ratio} of {num_rows} rows is {count} rows, and only {num_eligible} may be taken; "
            f"lower it to at most {num_eligible / num_rows:.3g}"
        )
    return count
