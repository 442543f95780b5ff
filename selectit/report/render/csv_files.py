"""results.csv, one line per number of the table and seed; comparisons.csv and overlap.csv, one line per comparison
and per pair of subsets. Values and differences are fractions as the benchmark gives them, not percent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.sections.contamination import Contamination
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.results import Result
from selectit.report.tables.subsets import Overlap, Subset, selection_of, summaries
from selectit.report.tables.table import Table

RESULT_COLUMNS = (
    "row", "arm", "benchmark", "select_seed", "train_seed", "eval_seed", "metric", "value", "stderr", "num_items",
    "status", "reason", "complete", "profile", "num_rows", "overlapping_rows", "row_mean", "row_std", "row_error",
    "row_difference", "is_baseline", "artifact", "fingerprint",
)  # fmt: skip
"""Columns that begin with `row_` are of all seeds of the row and benchmark; the difference is to the first baseline."""
OVERLAP_COLUMNS = (
    "row", "select_seed", "other_row", "other_select_seed", "num_rows", "other_num_rows", "num_common", "jaccard",
)  # fmt: skip

COMPARISON_COLUMNS = tuple(field.name for field in fields(Comparison))


def results_csv(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    results: Sequence[Result],
    table: Table,
    subsets: Sequence[Subset],
    contaminated: Contamination,
) -> str:
    subset_of = {subset.stage: subset for subset in subsets}
    selections = summaries(plan, outcomes)
    line_of = {row.label: line for row, line in zip(plan.rows, table.lines, strict=True)}
    lines = []
    for result in results:
        cell, record, config = result.cell, result.record, result.cell.stage.config
        line = line_of[result.row.label]
        at = table.benchmarks.index(cell.benchmark)
        chosen = selection_of(cell)
        overlapping = contaminated.count(subset_of[chosen], cell.benchmark) if chosen in subset_of and chosen else None
        selection = selections.get(chosen) or {}  # type: ignore[arg-type]
        assert isinstance(config, EvaluateStage)
        lines.append(
            {
                "row": result.row.label, "arm": result.row.arm, "benchmark": cell.benchmark,
                "select_seed": cell.select_seed, "train_seed": cell.train_seed, "eval_seed": cell.eval_seed,
                "metric": record.get("metric", config.benchmark.metric), "value": result.value,
                "stderr": None if result.missing else record.get("stderr"), "num_items": record.get("num_items"),
                "status": result.missing.kind if result.missing else "scored",
                "reason": result.missing.reason if result.missing else "", "complete": record.get("complete"),
                "profile": config.profile, "num_rows": selection.get("num_selected"),
                "overlapping_rows": overlapping,
                "row_mean": _fraction(line.entries[at].mean), "row_std": _fraction(line.entries[at].std),
                "row_error": _fraction(line.entries[at].error),
                "row_difference": _fraction(line.differences[at].mean), "is_baseline": line.is_baseline,
                "artifact": result.artifact.path.name if result.artifact else "",
                "fingerprint": result.artifact.manifest["fingerprint"] if result.artifact else "",
            }
        )  # fmt: skip
    return _csv(RESULT_COLUMNS, lines)


def comparisons_csv(comparisons: Comparisons) -> str:
    return _csv(COMPARISON_COLUMNS, [asdict(comparison) for comparison in comparisons.found])


def overlap_csv(found: Sequence[Overlap]) -> str:
    lines = [
        {
            "row": pair.one.row.label, "select_seed": pair.one.seed, "other_row": pair.other.row.label,
            "other_select_seed": pair.other.seed, "num_rows": len(pair.one.row_ids),
            "other_num_rows": len(pair.other.row_ids), "num_common": pair.num_common, "jaccard": round(pair.jaccard, 6),
        }
        for pair in found
    ]  # fmt: skip
    return _csv(OVERLAP_COLUMNS, lines)


def _fraction(percentage: float | None) -> float | None:
    return None if percentage is None else round(percentage / 100, 8)


def _csv(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
