"""What each cell of the table holds: the result of its evaluate stage, or a missing result with its reason.

Reads result.json of the evaluate artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from selectit.plan.graph import Cell, Plan, Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import Recipe
from selectit.report.render import formats
from selectit.report.render.formats import one_line
from selectit.store.artifact import Artifact
from selectit.store.names import RESULT_FILE

SECONDARY_METRICS = {"length_controlled_winrate": "length-controlled"}
"""Metrics that stand in the table next to their benchmark's own -> what their column's name adds."""
UNTOUCHED = Outcome(None, reason="this stage was not part of the run")


@dataclass(frozen=True)
class MissingResult:
    """A number that is not there."""

    kind: Literal["failed", "not run", "not scored"]
    reason: str


@dataclass(frozen=True)
class Result:
    """One cell. `record` is result.json, empty where there is no artifact."""

    row: TableRow
    cell: Cell
    artifact: Artifact | None
    record: dict[str, Any]
    missing: MissingResult | None
    is_secondary: bool = False
    """Another metric of the same evaluation, in a column next to its benchmark's; it counts in no average."""

    @property
    def value(self) -> float | None:
        """Fraction, not percent."""
        return None if self.missing else self.record["value"]

    @property
    def is_complete(self) -> bool:
        return self.record.get("complete", True)


def recipe_of(plan: Plan) -> Recipe:
    assert plan.recipe is not None, "stages that are run without a recipe have no table"
    return plan.recipe


def settings_of(artifact: Artifact) -> dict[str, Any]:
    """How a benchmark was run, as it was then: data by its content, which may have changed between two rows."""
    config = artifact.manifest["identity"]["config"]
    return {**config["benchmark"], **{key: config.get(key) for key in ("data", "limit", "judge", "backend")}}


def rows_text(plan: Plan, labels: Iterable[str]) -> str:
    """Row labels as text, an arm's name in place of its rows where all points of the grid are among them."""
    shown = list(labels)
    for arm in dict.fromkeys(row.arm for row in plan.rows):
        own = [row.label for row in plan.rows if row.arm == arm]
        if len(own) > 1 and set(own) <= set(shown):
            shown = [f"{arm} (all {len(own)} rows)" if x == own[0] else x for x in shown if x == own[0] or x not in own]
    return formats.names(shown)


def read_results(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> tuple[Result, ...]:
    """Every cell of every row, in the order of the table; `SECONDARY_METRICS` stand next to their benchmark."""
    records: dict[Stage, dict[str, Any]] = {}
    results = []
    for row in plan.rows:
        for cell in row.cells:
            outcome = outcomes.get(cell.stage, UNTOUCHED)
            if outcome.artifact is not None and cell.stage not in records:
                path = outcome.artifact.path / RESULT_FILE
                records[cell.stage] = json.loads(path.read_text(encoding="utf-8"))
            record = records.get(cell.stage, {})
            results.append(Result(row, cell, outcome.artifact, record, _missing(outcome, record)))
    # a column for all rows as soon as one of them has the metric
    secondary = {(result.cell.benchmark, metric) for result in results for metric in secondary_metrics(result.record)}
    every = []
    for result in results:
        every += [
            result,
            *(_other_metric(result, m) for m in SECONDARY_METRICS if (result.cell.benchmark, m) in secondary),
        ]
    return tuple(every)


def _other_metric(result: Result, metric: str) -> Result:
    record = record_of(result.record, metric)
    missing = result.missing
    if missing is None and record["value"] is None:
        missing = MissingResult(
            "not scored", one_line(result.record.get("not_computed", {}).get(metric, "")) or "no reason given"
        )
    cell = replace(result.cell, benchmark=column_of(result.cell.benchmark, metric))
    return Result(result.row, cell, result.artifact, record, missing, is_secondary=True)


def secondary_metrics(record: Mapping[str, Any]) -> list[str]:
    """Those of `SECONDARY_METRICS` that a result.json has."""
    return [metric for metric in SECONDARY_METRICS if metric in record.get("metrics", {})]


def record_of(record: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """result.json with another of its metrics in the place of the table's, or with no value where it lacks it."""
    found = record.get("metrics", {}).get(metric, {})
    return {**record, "metric": metric, **{key: found.get(key) for key in ("value", "stderr", "num_items")}}


def column_of(benchmark: str, metric: str) -> str:
    """Args: benchmark: its column, which may name a judge: `alpaca_eval_2 (gpt-4-turbo)`."""
    name = SECONDARY_METRICS[metric]
    return f"{benchmark.removesuffix(')')}; {name})" if benchmark.endswith(")") else f"{benchmark} ({name})"


def _missing(outcome: Outcome, record: Mapping[str, Any]) -> MissingResult | None:
    if outcome.artifact is None:
        return MissingResult(
            "failed" if outcome.failed else "not run", one_line(outcome.reason) or "no reason was given"
        )
    if record.get("status") == "scored" and record.get("value") is not None:
        return None
    return MissingResult("not scored", one_line(record.get("reason") or "") or "no reason was given")
