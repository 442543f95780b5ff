"""Equal scores: whether a subset was chosen by its scores, or by the places of its rows in the pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

EQUAL_WITHIN = 1e-6
"""Relative; scores of float32 models that differ by less differ by rounding alone."""


def ties_of(scores: np.ndarray, selected: np.ndarray) -> dict[str, Any]:
    """What selection.json records of equal scores.

    Args: scores: float64 [num_rows], NaN where a row has none; selected: bool [num_rows].
    """
    found = scores[np.isfinite(scores)]
    lowest = scores[selected].min()
    resolution = EQUAL_WITHIN * max(float(np.abs(found).max()), 1.0)
    tied = np.isfinite(scores) & (np.abs(scores - lowest) <= resolution)
    return {
        "all_scores_equal": bool(len(found) > 1 and np.ptp(found) <= resolution),
        "num_tied_at_the_cut": int(tied.sum()) if (tied & ~selected).any() else 0,
        "num_tied_selected": int((tied & selected).sum()),
    }


def tie_lines(ties: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Sentences on a subset that its scores did not choose, or chose only in part.

    Args: ties: as `ties_of` gives it, or selection.json, which has it; summary: has `num_selected`.
    """
    if "all_scores_equal" not in ties:
        return []
    if ties["all_scores_equal"]:
        return [
            "all scores are equal, so they chose nothing: of equal scores the later row comes first, and the last "
            f"{summary['num_selected']:,} usable rows of the pool were taken"
        ]
    if (tied := ties["num_tied_at_the_cut"]) and ties["num_tied_selected"] > summary["num_selected"] / 2:
        return [
            f"{tied:,} rows have the lowest selected score, and {ties['num_tied_selected']:,} of them were taken, the "
            "later ones: most of the subset is chosen by its place in the pool"
        ]
    return []
