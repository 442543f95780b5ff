"""What the trainings of a row of the table recorded. Reads training.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from selectit.plan.graph import Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.report.tables.results import UNTOUCHED
from selectit.report.tables.subsets import training_of
from selectit.store.names import TRAINING_FILE


def training_records(row: TableRow, outcomes: Mapping[Stage, Outcome]) -> list[dict[str, Any]]:
    """Of each finished training once, in the order of the seeds."""
    found = []
    for stage in dict.fromkeys(training_of(cell) for cell in row.cells):
        artifact = outcomes.get(stage, UNTOUCHED).artifact if stage else None
        if artifact and (path := artifact.path / TRAINING_FILE).is_file():
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found
