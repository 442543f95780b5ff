"""Rows that a greedy method picks one after the other, as scores: the first pick has the highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selectit.selection.strategy import Detail, Scored

NOT_PICKED = "not_picked"


def picked(
    order: Sequence[int] | np.ndarray,
    usable: np.ndarray,
    failures: Mapping[int, str] | None = None,
    dropped: Mapping[int, str] | None = None,
    details: Detail | None = None,
    record: Mapping[str, Any] | None = None,
) -> Scored:
    """Args:
    order: positions, the first pick first; the other usable rows are left out.
    usable: bool [num_rows], rows that may be picked.
    dropped: position -> which rule left a row out; the others were not reached.
    """
    scores = np.full(len(usable), np.nan)
    scores[np.asarray(order, dtype=np.int64)] = np.arange(len(order), 0, -1)
    others = np.flatnonzero(usable & np.isnan(scores)).tolist()
    left_out = {**dict.fromkeys(others, NOT_PICKED), **(dropped or {})}
    return Scored(scores, failures or {}, left_out, details, record or {})
