"""Every strategy as a score per row; a row that must not be taken has none.

`ranking` turns scores into an order and `num_selected` a ratio into a count, the same way for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from selectit.data.pool import Row
from selectit.data.row_ids import uniform_number
from selectit.data.turns import texts_of
from selectit.errors import UserError


def random_scores(rows: Iterable[Row], seed: int, strategy: str) -> np.ndarray:
    """A uniform number per strategy, seed and row id, from sha256.

    The same row has the same number in any order of the pool, on any platform and library version, and at a
    larger ratio the same seed keeps what it had at a smaller one. `random` and `random_rest` draw independently.

    Returns: float64 [num_rows] in [0, 1).
    """
    return np.fromiter((uniform_number(strategy, seed, row.row_id) for row in rows), dtype=float)


def length_scores(rows: Iterable[Row], field: str, count: Callable[[str], int]) -> np.ndarray:
    """Length of each row's text, in the unit of `count`.

    Args: field: response (all assistant turns), instruction (all user turns, inputs included) or full (both).
    """
    roles = {"response": ("assistant",), "instruction": ("user",), "full": ("user", "assistant")}[field]
    lengths = (sum(count(text) for m in row.messages if m["role"] in roles for text in texts_of(m)) for row in rows)
    return np.fromiter(lengths, dtype=float)


def matched(
    scores: np.ndarray, lengths: np.ndarray, usable: np.ndarray, model: np.ndarray, num_bins: int
) -> np.ndarray:
    """The best-scored rows of each bin of length, as many as the model subset has there.

    The bins' edges are quantiles of the model subset's lengths. Its own rows may be drawn too, so that every
    bin has enough; rows shorter or longer than all of its rows are not.

    Args:
        scores, lengths: float64 [num_rows].
        usable: bool [num_rows], rows that may be taken.
        model: bool [num_rows], rows of the subset whose lengths are matched.
    Returns: bool [num_rows].
    """
    edges = np.unique(np.quantile(lengths[model], np.linspace(0, 1, num_bins + 1)))
    bins = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    usable = usable & (lengths >= edges[0]) & (lengths <= edges[-1])
    chosen = np.zeros(len(scores), dtype=bool)
    for number in np.unique(bins[model]):
        candidates = np.flatnonzero(usable & (bins == number))
        wanted = int((model & (bins == number)).sum())
        chosen[candidates[np.argsort(-scores[candidates], kind="stable")[:wanted]]] = True
    return chosen


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
