"""What stands between scores and a subset, for any strategy that goes by scores: rows that differ from one another, or
shares of the values of a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from selectit.selection.diversity.methods import NEAR_DUPLICATE, OF_STEP, AfterScores, ByVectors
from selectit.selection.quotas import apportioned
from selectit.selection.ranking import random_scores
from selectit.selection.strategy import Candidates, RatioStrategy, Strategy
from selectit.selection.vectors import check as check_file
from selectit.selection.vectors import rows_with_vectors, without_vector

STRATUM_FULL = "stratum_full"
MOST_STRATA = 12
"""Named in a sentence."""


@dataclass(frozen=True)
class Order:
    """What is taken."""

    positions: np.ndarray
    """int64 [num_rows], every row, in the order in which they are taken."""
    count: int
    """How many are."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Position -> by which rule a row with a score is not taken."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What selection.json holds of it."""


def step_of(strategy: Strategy) -> ByVectors | None:
    return strategy.diversify if isinstance(strategy, RatioStrategy) else None


def check(strategy: Strategy, pool: Candidates) -> None:
    """Raises: UserError for vectors that are not those of the pool; nothing has run yet."""
    if (step := step_of(strategy)) is not None:
        check_file(step, len(pool))


def without_what_is_read(strategy: Strategy, pool: Candidates) -> dict[int, str]:
    """Position -> why a usable row lacks what a step reads of it."""
    step = step_of(strategy)
    return {} if step is None else without_vector(step, pool, OF_STEP)


def taken(
    strategy: Strategy, pool: Candidates, order: np.ndarray, scores: np.ndarray, num_eligible: int, count: int
) -> Order:
    """Args:
    order: int64 [num_rows], positions as the strategy takes them, rows without a score last.
    scores: float64 [num_rows].
    """
    if isinstance(strategy, RatioStrategy) and strategy.stratify is not None:
        return _stratified(strategy.stratify, pool, order, num_eligible, count)
    if (step := step_of(strategy)) is not None:
        return _diverse(step, strategy.strategy, pool, order, scores, num_eligible, count)
    return Order(order, count)


def _diverse(
    step: ByVectors,
    name: str,
    pool: Candidates,
    order: np.ndarray,
    scores: np.ndarray,
    num_eligible: int,
    count: int,
) -> Order:
    assert isinstance(step, AfterScores)
    among = order[: step.among(num_eligible, count)]
    numbers = random_scores(pool.row_ids, pool.stage.seed or 0, f"diversify {name}")
    found = step.take(rows_with_vectors(step, pool, OF_STEP, among, scores, numbers), count)
    first = among[found.order]
    dropped = dict.fromkeys(among[found.dropped].tolist(), NEAR_DUPLICATE)
    return Order(_first(first, order), len(first), dropped, {"diversify": dict(found.record)})


def _stratified(
    by: Literal["equal", "proportional"], pool: Candidates, order: np.ndarray, num_eligible: int, count: int
) -> Order:
    """The first rows of each stratum, in the strategy's order; strata stand in the order of their names."""
    assert pool.strata is not None, "an arm with select.stratify has a pool with stratify_by"
    names, of_row = np.unique(np.array(pool.strata.fill_null("").to_pylist(), dtype=object), return_inverse=True)
    sizes = np.bincount(of_row[pool.usable], minlength=len(names)).tolist()
    ranked = of_row[order[:num_eligible]]
    eligible = np.bincount(ranked, minlength=len(names)).tolist()
    weights = [1 if by == "equal" and size else size for size in sizes]
    quotas = apportioned(count, weights, eligible)
    chosen = np.zeros(num_eligible, dtype=bool)
    for stratum, quota in enumerate(quotas):
        chosen[np.flatnonzero(ranked == stratum)[:quota]] = True
    before_the_last = np.arange(num_eligible) < np.flatnonzero(chosen)[-1]
    full = order[:num_eligible][before_the_last & ~chosen]
    listed = {
        name: {"num_rows": size, "num_eligible": may, "num_selected": quota}
        for name, size, may, quota in zip(names.tolist(), sizes, eligible, quotas, strict=True)
        if size
    }
    first = order[:num_eligible][chosen]
    return Order(_first(first, order), count, dict.fromkeys(full.tolist(), STRATUM_FULL), {"strata": listed})


def _first(first: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.concatenate([first, order[~np.isin(order, first)]])


def words(strategy: Strategy) -> Sequence[str]:
    """What the report has of the steps behind a strategy's sentence."""
    if isinstance(strategy, RatioStrategy) and strategy.stratify is not None:
        return [f"{strategy.stratify} shares of the values of pool.stratify_by"]
    step = step_of(strategy)
    if step is None:
        return []
    assert isinstance(step, AfterScores)
    among = "" if step.preselect is None else f" among {step.preselect:g} times as many rows of the best scores"
    return [f"then {step.words()}{among}, by the {step.vectors()}"]


def notes(selection: Mapping[str, Any]) -> list[str]:
    """Sentences on what the steps did. Args: selection: of selection.json."""
    found = selection.get("diversify", {})
    named = {
        "num_near_duplicates": "{:,} rows of high scores are left out as near duplicates of rows of higher ones",
        "radius": "no row among those the method chose from is farther than {:.3g} from a row that was taken",
        "mean_similarity": "the mean similarity of a row to the nearest one that was taken is {:.5g}",
        "num_clusters_taken": "rows of {:,} clusters were taken",
    }
    sentences = [sentence.format(found[key]) for key, sentence in named.items() if key in found]
    if strata := selection.get("strata"):
        largest = sorted(strata.items(), key=lambda one: -one[1]["num_rows"])[:MOST_STRATA]
        shares = ", ".join(f"{name or '(empty)'} {of['num_selected']:,} of {of['num_rows']:,}" for name, of in largest)
        more = f", and {len(strata) - MOST_STRATA} smaller ones" * (len(strata) > MOST_STRATA)
        sentences.append(f"rows taken of each value of pool.stratify_by: {shares}{more}")
    return sentences
