"""How far a ledger and the plain way lie apart on a sample of its rows; the same for ratings and for losses."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import SelectDefaults
from selectit.data.pool import Row
from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.store.names import LEDGER, VERIFICATION

SEED = 0
MOST_SHOWN = 5
TOLERANCES = {True: 1e-3, False: 0.05}
"""Largest difference of a sentence-level score, which lies between 0 and 5, by whether the ledger is in float32: there
paths differ by rounding, some 1e-6; half precision and quantised weights move a score by what they lose.
"""


def drawn_rows(folder: Path, failures: Sequence[str | None], num_rows: int) -> list[int]:
    """Places of rows that the ledger has numbers of, drawn with a seed, in order.

    Raises: UserError where there are fewer than two.
    """
    whole = [at for at, failure in enumerate(failures) if failure is None]
    if len(whole) < 2:
        raise UserError(f"{folder / LEDGER} holds {len(whole)} rows without a failure; a comparison needs two at least")
    return sorted(random.Random(SEED).sample(whole, min(num_rows, len(whole))))


def rows_of(rows: Iterable[Row], row_ids: Iterable[str]) -> list[Row]:
    """The rows with these ids, in their order."""
    wanted = set(row_ids)
    return [row for row in rows if row.row_id in wanted]


def write_agreement(
    folder: Path,
    record: Mapping[str, Any],
    rows: Sequence[Row],
    found: np.ndarray,
    expected: np.ndarray,
    tolerance: float | None,
    details: Mapping[str, Any],
) -> dict[str, Any]:
    """Write verification.json.

    Args:    record: what the artifact's own JSON holds; rows: the sample; found, expected: float64 [len(rows)], by the
             ledger and by the plain way; tolerance: largest difference for which both agree, None: by number type;
             details: the other numbers of the comparison.
    Returns: what it holds: whether both agree, the rows that differ most, rank correlation, and the share of the
             sample's best part, at the usual ratio, that both choose.
    """
    apart, ratio = float(np.abs(found - expected).max()), SelectDefaults().ratio
    largest_allowed = tolerance if tolerance is not None else TOLERANCES[record["dtype"] == "float32"]
    result = {
        "num_rows": len(rows),
        "rater": record["rater"],
        "dtype": record["dtype"],
        **details,
        "tolerance": largest_allowed,
        "agrees": apart <= largest_allowed,
        "most_different": _most_different([row.row_id for row in rows], found, expected),
        "rank_correlation": rank_correlation(found, expected),
        "ratio": ratio,
        "subset_overlap": subset_overlap(found, expected, ratio),
    }
    write_whole(folder / VERIFICATION, json.dumps(result, indent=2) + "\n")
    return result


def _most_different(row_ids: Sequence[str], found: np.ndarray, expected: np.ndarray) -> list[dict[str, Any]]:
    """The rows with the largest differences, the largest first."""
    order = np.argsort(-np.abs(found - expected), kind="stable")[:MOST_SHOWN]
    return [{"row_id": row_ids[at], "ledger": float(found[at]), "again": float(expected[at])} for at in order]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, equal values taking their mean rank; 0 where all of one are equal."""
    first, second = _ranks(a), _ranks(b)
    if np.array_equal(first, second):
        return 1.0
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def subset_overlap(a: np.ndarray, b: np.ndarray, ratio: float) -> float:
    """Share of the best part by `a` that is in the best part by `b`; ties as in selection, the later row first."""
    count = max(1, int(ratio * len(a)))
    best = [set(sorted(range(len(s)), key=lambda i: (s[i], i), reverse=True)[:count]) for s in (a, b)]
    return len(best[0] & best[1]) / count
