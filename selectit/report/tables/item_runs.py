"""The runs of each row on a benchmark, item by item, and why two rows cannot be compared.

Reads items.jsonl of the evaluate artifacts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from selectit.report.tables.results import Result, settings_of
from selectit.report.tables.subsets import training_of
from selectit.statistics.items import ItemScores, Mean, item_weights, read_scores
from selectit.store.fingerprint import canonical_json
from selectit.store.names import ITEMS_FILE

MOST_MISSING = 0.05
"""Of a benchmark's items, that may have no score in some run and are left out of all comparisons."""
ROUNDING = 1e-6
"""The mean over items must give the recorded value this closely."""


@dataclass(frozen=True)
class RowRuns:
    """The runs of one row on one benchmark; or the reason why there are none."""

    keys: tuple[tuple[str, int], ...] = ()
    scores: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    """float64 [num_items, num_runs], evaluation seeds of a trained model averaged."""
    seeds: tuple[tuple[int, int], ...] = ()
    """(selection seed, training seed) of each run; empty where nothing is trained."""
    num_evaluations: int = 0
    settings: str = ""
    identity: tuple[str, ...] = ()
    """Fingerprints of the evaluations; rows that share them are the same models."""
    reason: str = ""


def read_rows(rows: Sequence[Sequence[Result]]) -> tuple[list[RowRuns], Mean | None]:
    """The runs of each row on one benchmark, and which mean its values are.

    Args: rows: the results of each row that hold a number.
    """
    read: dict[str, ItemScores] = {}
    results = [result for row in rows for result in row]
    mean = _mean(results, read)
    missing = _missing([_scores(result, read) for result in results])
    return [_row(row, read, mean, missing) for row in rows], mean


def _missing(runs: Sequence[ItemScores]) -> frozenset[tuple[str, int]]:
    """Items that have no score in some run, such as an answer that a judge refused to judge."""
    return frozenset(run.keys[at] for run in runs for at in np.flatnonzero(np.isnan(run.scores)).tolist())


def obstacle(row: RowRuns, base: RowRuns, baseline: str) -> str:
    """Why the two cannot be compared; empty where they can."""
    if row.reason or base.reason:
        return row.reason or f"{baseline}: {base.reason}"
    if row.identity == base.identity:
        return f"the same trained models as {baseline}" if row.seeds else f"the same model as {baseline}"
    if row.settings != base.settings:
        return f"not run with the settings or data of {baseline}"
    if row.keys != base.keys:
        common = len(set(row.keys) & set(base.keys))
        return f"its {len(row.keys)} items and the {len(base.keys)} of {baseline} are not the same ({common} in both)"
    return ""


def alike(rows: Sequence[RowRuns]) -> list[list[int]]:
    """Positions of rows with the same items."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for at, row in enumerate(rows):
        if not row.reason:
            groups.setdefault(row.keys, []).append(at)
    return list(groups.values())


def _mean(results: Sequence[Result], read: dict[str, ItemScores]) -> Mean | None:
    """The mean that the benchmark's values are: the one that gives every recorded value from its items."""
    for mean in ("items", "tasks"):
        if all(gives(result.record["value"], _scores(result, read), mean) for result in results):
            return mean  # type: ignore[return-value]
    return None


def gives(value: float, items: ItemScores, mean: Mean) -> bool:
    """Whether a recorded value is this mean over its items; True where that cannot be known."""
    if not items.keys or np.isnan(items.scores).any():
        return True  # callers give the reason
    weights = item_weights([task for task, _ in items.keys], mean)
    return abs(float(weights @ items.scores) - value) < ROUNDING


def _scores(result: Result, read: dict[str, ItemScores]) -> ItemScores:
    assert result.artifact is not None
    path = result.artifact.path / ITEMS_FILE
    if path.as_posix() not in read:
        found = read_scores(path)
        other = next(iter(read.values()), found)
        # mostly the same items as in every other row, whose keys are kept once
        read[path.as_posix()] = replace(found, keys=other.keys) if found.keys == other.keys else found
    return read[path.as_posix()]


def _row(
    results: Sequence[Result], read: dict[str, ItemScores], mean: Mean | None, missing: frozenset[tuple[str, int]]
) -> RowRuns:
    """Args: missing: items that are left out of every row, so that all rows have the same."""
    if not results:
        return RowRuns(reason="there is no number")
    runs = [_scores(result, read) for result in results]
    settings = {canonical_json(settings_of(result.artifact)) for result in results if result.artifact}
    if not runs[0].keys:
        return RowRuns(reason="its items are not recorded")
    if len(settings) > 1 or any(run.keys != runs[0].keys for run in runs):
        return RowRuns(reason="its own runs differ in settings or items")
    own = int(np.isnan(np.mean([run.scores for run in runs], axis=0)).sum())
    kept = np.array([key not in missing for key in runs[0].keys])
    if len(kept) - kept.sum() > MOST_MISSING * len(kept):
        reason = f"{own} of its items have no score" if own else f"{len(missing)} items have no score in other rows"
        return RowRuns(reason=reason)
    if mean is None:
        return RowRuns(reason="the value is not a mean over its items")
    evaluations: dict[tuple[int, int], list[np.ndarray]] = {}
    for result, run in zip(results, runs, strict=True):
        evaluations.setdefault((result.cell.select_seed, result.cell.train_seed), []).append(run.scores)
    by_run = sorted(evaluations)
    return RowRuns(
        tuple(itertools.compress(runs[0].keys, kept)),
        np.stack([np.mean(evaluations[seeds], axis=0)[kept] for seeds in by_run], axis=1),
        tuple(by_run) if training_of(results[0].cell) is not None else (),
        len(runs),
        settings.pop(),
        tuple(sorted(result.artifact.manifest["fingerprint"] for result in results if result.artifact)),
    )
