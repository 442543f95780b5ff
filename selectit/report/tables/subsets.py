"""What each arm selected: scores, response lengths, row ids, and how far the subsets of two arms overlap.

Reads scores.jsonl and selection.json of the select artifacts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from selectit.config import PoolConfig, SelectStage
from selectit.data.content import content_of, each_once
from selectit.data.jsonl import iter_jsonl
from selectit.data.jsonl_columns import read_columns
from selectit.plan.graph import Cell, Plan, Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.report.tables.results import UNTOUCHED
from selectit.selection import steps
from selectit.selection.strategy import LEFT_OUT, strategy_of
from selectit.selection.ties import tie_lines
from selectit.store.artifact import Artifact
from selectit.store.names import MESSAGES_FILE, SCORES_FILE, SELECTION_FILE

SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("score", pa.float64()),
        ("selected", pa.bool_()),
        ("failure", pa.string()),
        ("response_chars", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Subset:
    """One selection and the row of the table that it belongs to. Arrays are in the order of the pool."""

    row: TableRow
    seed: int
    """The selection seed of the cell; strategies that do not draw ignore it."""
    stage: Stage
    artifact: Artifact
    summary: dict[str, Any]
    """Of selection.json."""
    scores: np.ndarray  # float64 [num_rows], NaN where a row has no score
    response_chars: np.ndarray  # int64 [num_rows]
    selected: np.ndarray  # bool [num_rows]
    row_ids: frozenset[str]
    """Ids of the selected rows."""
    all_ids: tuple[str, ...]
    """Ids of all rows."""
    failures: tuple[tuple[str, str], ...]
    """(row id, failure) of the rows that could not be scored."""

    @property
    def pool(self) -> PoolConfig:
        return self.config.pool

    @property
    def config(self) -> SelectStage:
        assert isinstance(self.stage.config, SelectStage)
        return self.stage.config


def training_of(cell: Cell) -> Stage | None:
    """The training behind a cell; None for a model that is evaluated as it is."""
    return dict(cell.stage.inputs).get("model")


def selection_of(cell: Cell) -> Stage | None:
    """The selection that a cell's model was trained on (not the one a random_rest arm stays clear of)."""
    tuned = training_of(cell)
    return dict(tuned.inputs).get("subset") if tuned else None


def summaries(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> dict[Stage, dict[str, Any]]:
    """selection.json of every finished selection."""
    found = {}
    for stage in plan.stages:
        artifact = outcomes.get(stage, UNTOUCHED).artifact
        if stage.kind == "select" and artifact is not None:
            found[stage] = json.loads((artifact.path / SELECTION_FILE).read_text(encoding="utf-8"))
    return found


def read_subsets(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> tuple[Subset, ...]:
    """The finished selections of each row, one per selection seed on which the row depends."""
    summary_of = summaries(plan, outcomes)
    read: dict[Stage, tuple[Any, ...]] = {}
    known_ids: dict[tuple[str, ...], tuple[str, ...]] = {}
    subsets = []
    for row in plan.rows:
        own = {stage: cell for cell in reversed(row.cells) if (stage := selection_of(cell)) in summary_of and stage}
        for stage, cell in reversed(own.items()):
            artifact = outcomes[stage].artifact
            assert artifact is not None
            if stage not in read:
                read[stage] = _read(artifact, known_ids, summary_of[stage].get("left_out", LEFT_OUT))
            subsets.append(Subset(row, cell.select_seed, stage, artifact, summary_of[stage], *read[stage]))
    return tuple(subsets)


def _read(
    artifact: Artifact, known_ids: dict[tuple[str, ...], tuple[str, ...]], left_out: Sequence[str]
) -> tuple[Any, ...]:
    """Args:
    known_ids: ids of the rows of the pools read before; those of one pool are kept once.
    left_out: reasons that are no failures.
    """
    table = read_columns(artifact.path / SCORES_FILE, SCHEMA)
    ids = tuple(table["row_id"].to_pylist())
    ids = known_ids.setdefault(ids, ids)
    selected = table["selected"].to_numpy()
    failures = table["failure"]
    failed = np.flatnonzero(failures.is_valid().to_numpy())
    return (
        table["score"].to_numpy().astype(np.float64),
        table["response_chars"].to_numpy(),
        selected,
        frozenset(ids[at] for at in np.flatnonzero(selected)),
        ids,
        tuple((ids[at], failure) for at in failed if (failure := failures[int(at)].as_py()) not in left_out),
    )


def first_seed(subsets: Sequence[Subset]) -> list[Subset]:
    """One subset per row of the table: that of its first selection seed."""
    return list({subset.row.label: subset for subset in reversed(subsets)}.values())[::-1]


def ties(subsets: Sequence[Subset]) -> list[str]:
    """One sentence for each arm whose subset its scores did not choose."""
    keys = ("all_scores_equal", "num_tied_at_the_cut", "num_tied_selected")
    sentences = []
    for subset in first_seed(subsets):
        found = {key: subset.summary[key] for key in keys if key in subset.summary}
        sentences += [f"{subset.row.label}: {line}." for line in tie_lines(found, subset.summary)]
    return sentences


def notes_of(subset: Subset) -> list[str]:
    """What its strategy has to say of a finished selection, each with the row's name."""
    found = [*steps.notes(subset.summary), *strategy_of(subset.config).notes(subset.summary)]
    return [f"{subset.row.label}: {note}." for note in found]


@dataclass(frozen=True)
class Overlap:
    """Two subsets, of one pool or of two."""

    one: Subset
    other: Subset
    num_common: int

    @property
    def jaccard(self) -> float:
        """Rows in both over rows in either."""
        either = len(self.one.row_ids) + len(self.other.row_ids) - self.num_common
        return self.num_common / either if either else 1.0


def overlaps(subsets: Sequence[Subset]) -> list[Overlap]:
    """Every pair of subsets, each once: by rows where both are of one pool, else by content."""
    common: dict[tuple[int, int], int] = {}
    of_pool: dict[PoolConfig, list[int]] = {}
    for at, subset in enumerate(subsets):
        of_pool.setdefault(subset.pool, []).append(at)
    for members in of_pool.values():
        chosen = np.stack([subsets[at].selected for at in members]).astype(np.float32)  # [num_subsets, num_rows]
        counts = chosen @ chosen.T
        common |= {
            (one, other): int(counts[i, j]) for (i, one), (j, other) in itertools.combinations(enumerate(members), 2)
        }
    if len(of_pool) > 1:
        contents = {subset.stage: _contents(subset) for subset in subsets}
        for one, other in itertools.combinations(range(len(subsets)), 2):
            if (one, other) not in common:
                common[one, other] = len(contents[subsets[one].stage] & contents[subsets[other].stage])
    return [Overlap(subsets[one], subsets[other], count) for (one, other), count in sorted(common.items())]


def _contents(subset: Subset) -> frozenset[tuple[bytes, int]]:
    """The contents of the selected rows; equal ones are as many as they are."""
    lines = iter_jsonl(subset.artifact.path / MESSAGES_FILE)
    return frozenset(each_once(content_of(line["messages"]) for line in lines))
