"""The items of a benchmark as arrays: how each one counts in the value, and what is resampled as a whole.

Reads items.jsonl of the evaluate artifacts, without the prompts and answers, which are most of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from selectit.data.jsonl_columns import read_columns

LEAST_CLUSTERS = 20
"""With this many tasks, tasks are the units (MMLU's 57 subjects, BBH's 27 tasks); with fewer, items are."""
SCHEMA = pa.schema([("task", pa.string()), ("item_id", pa.int64()), ("score", pa.float64())])

Mean = Literal["items", "tasks"]
"""micro: the plain mean over items; macro: the plain mean over the means of the tasks."""


@dataclass(frozen=True)
class ItemScores:
    """The items of one evaluation, in the order of task and item id."""

    keys: tuple[tuple[str, int], ...]
    scores: np.ndarray  # float64 [num_items]; NaN where an item has no score


def read_scores(path: Path) -> ItemScores:
    """Raises: ValueError where an item stands twice, for then no other evaluation can be joined to it."""
    table = read_columns(path, SCHEMA)
    found = table.sort_by([("task", "ascending"), ("item_id", "ascending")])
    keys = tuple(zip(found["task"].to_pylist(), found["item_id"].to_pylist(), strict=True))
    if len(set(keys)) < len(keys):
        raise ValueError(f"{path}: an item of a task stands there twice")
    return ItemScores(keys, found["score"].to_numpy().astype(np.float64))


def item_weights(tasks: Sequence[str], mean: Mean) -> np.ndarray:
    """float64 [num_items], sum 1: what each item counts in the benchmark's value."""
    _, task, sizes = np.unique(np.asarray(tasks), return_inverse=True, return_counts=True)
    if mean == "items":
        return np.full(len(task), 1 / len(task))
    return 1 / (len(sizes) * sizes[task])


@dataclass(frozen=True)
class Units:
    """What is drawn, and changes sides in a permutation, as a whole: items within their task, or whole tasks."""

    kind: Literal["item", "task"]
    sums: np.ndarray  # float64 [num_units, num_columns], weighted scores of the unit's items
    weights: np.ndarray  # float64 [num_units], sum 1
    strata: np.ndarray
    """int64 [num_units]; as many units are drawn of each stratum as it has."""
    equal: bool
    """All items count the same."""
    num_items: int


def make_units(tasks: Sequence[str], weights: np.ndarray, scores: np.ndarray) -> Units:
    """Args: scores: float64 [num_items, num_columns]."""
    weighted = weights[:, None] * scores
    equal = bool(np.allclose(weights, weights[0], rtol=1e-12))
    names, task, sizes = np.unique(np.asarray(tasks), return_inverse=True, return_counts=True)
    if len(names) >= LEAST_CLUSTERS:
        sums = np.zeros((len(names), scores.shape[1]))
        np.add.at(sums, task, weighted)
        return Units("task", sums, np.bincount(task, weights), np.zeros(len(names), dtype=np.int64), equal, len(task))
    alone = sizes.min() < 2  # an item alone in its stratum would be drawn every time
    return Units("item", weighted, weights, np.zeros_like(task) if alone else task, equal, len(task))
