"""What became of each epoch: the loss on rows that were not trained on, and benchmarks on the weights after it.

Reads training.json of the trainings and result.json of the evaluations after an epoch. None of it enters the table.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any

from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Plan, Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.results import UNTOUCHED
from selectit.report.tables.trainings import training_records
from selectit.store.names import RESULT_FILE

VALIDATION_NOTE = (
    "Mean loss in nats on the tokens of rows that were not trained on, over the training seeds. Losses of arms are "
    "comparable where finetune.validation names a file, not where each arm holds out rows of its own subset."
)
EPOCHS_NOTE = (
    "Percent on the weights after each epoch, the mean over seeds. The table holds the last epoch, or with early "
    "stopping the one of the lowest validation loss; nothing else of this enters it."
)


def trainings(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> dict[TableRow, list[dict[str, Any]]]:
    """training.json of the finished trainings of each row that validates."""
    found = {row: [r for r in training_records(row, outcomes) if r.get("validation")] for row in plan.rows}
    return {row: records for row, records in found.items() if records}


def validation(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Section | None:
    listing = validation_losses(plan, outcomes)
    return Section("Validation loss", (listing, Note(VALIDATION_NOTE))) if listing.rows else None


def validation_losses(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Listing:
    """One line per row of the table that validates, one column per epoch."""
    found = trainings(plan, outcomes)
    epochs = sorted({entry["epoch"] for records in found.values() for r in records for entry in r["validation"]})
    rows = []
    for row, records in found.items():
        by_epoch: dict[float, list[float]] = {}
        for record in records:
            for entry in record["validation"]:
                by_epoch.setdefault(entry["epoch"], []).append(entry["loss"])
        means = [f"{statistics.fmean(by_epoch[epoch]):.4f}" if epoch in by_epoch else ABSENT for epoch in epochs]
        number = formats.spread(record["num_validation_rows"] for record in records)
        stopped = formats.names([f"{best(r):g}" for r in records if r["stopped_early"]]) or ABSENT
        rows.append((row.label, stopped, number, *means))
    columns = ("arm", "stopped early, best epoch", "rows", *(f"epoch {epoch:g}" for epoch in epochs))
    return Listing(columns, tuple(rows), num_text_columns=2)


def best(record: Mapping[str, Any]) -> float:
    """The epoch of the lowest loss."""
    return min(record["validation"], key=lambda entry: entry["loss"])["epoch"]


def by_epoch(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> dict[tuple[str, str], dict[float, float]]:
    """(row label, benchmark) -> epoch -> percent, the mean over seeds; the last epoch is that of the table's result."""
    values: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in plan.rows:
        if not row.curve:
            continue
        for cell in (*row.curve, *row.cells):
            config = cell.stage.config
            assert isinstance(config, EvaluateStage)
            artifact = outcomes.get(cell.stage, UNTOUCHED).artifact
            if artifact is None:
                continue
            record = json.loads((artifact.path / RESULT_FILE).read_text(encoding="utf-8"))
            epoch = config.epoch or row.config.finetune.num_train_epochs
            is_best = config.epoch is None and row.config.finetune.early_stopping is not None
            if record.get("value") is None or is_best:  # the best epoch is a point of the curve already
                continue
            series = values.setdefault((row.label, cell.benchmark), {})
            series.setdefault(float(epoch), []).append(formats.percent(record["value"]))
    return {
        name: {epoch: statistics.fmean(found) for epoch, found in sorted(series.items())}
        for name, series in values.items()
    }


def benchmarks(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Section | None:
    found = by_epoch(plan, outcomes)
    if not found:
        return None
    epochs = sorted({epoch for series in found.values() for epoch in series})
    rows = [
        (label, benchmark, *(f"{series[epoch]:.2f}" if epoch in series else ABSENT for epoch in epochs))
        for (label, benchmark), series in found.items()
    ]
    columns = ("arm", "benchmark", *(f"epoch {epoch:g}" for epoch in epochs))
    listing = Listing(columns, tuple(rows), num_text_columns=2)
    return Section("Benchmarks after each epoch", (listing, Note(EPOCHS_NOTE)))
