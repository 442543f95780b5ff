"""Trainings whose steps were too small for the number type that the weights are saved in.

Reads training.json.
"""

from __future__ import annotations

from collections.abc import Mapping

from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.tables.trainings import training_records

SMALL_SHARE = 0.5
"""Of changed weights in a full training: less than this is named."""


def rounding_notes(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> list[str]:
    """One sentence for each row of the table with such a training."""
    notes: dict[str, None] = {}
    for row in plan.rows:
        for record in training_records(row, outcomes):
            share = record.get("changed_share", 1.0)
            if record.get("method") == "full" and share < SMALL_SHARE:
                notes[
                    f"{row.label}: {share:.1%} of the saved weights differ from the base; steps that {record['dtype']} "
                    "cannot hold were rounded away. Raise finetune.learning_rate, or set model.dtype to float32."
                ] = None
    return list(notes)
