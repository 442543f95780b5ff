"""Plots of the trainings: tokens of their rows, training loss, validation loss.

Reads metrics.jsonl, row_tokens.json and training.json of the training runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from selectit.data.jsonl import read_jsonl
from selectit.plan.graph import Plan, Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.sections import epochs, plots
from selectit.report.sections.figures import MOST_CURVES, MOST_PANELS, Plot, in_turn, left_out
from selectit.report.tables.results import UNTOUCHED
from selectit.report.tables.subsets import training_of
from selectit.store.names import METRICS_FILE, ROW_TOKENS_FILE


def tokens_per_row(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    """Of the first training of each row; trainings of before the file was written are passed over."""
    found: list[tuple[TableRow, np.ndarray, np.ndarray]] = []
    for row in plan.rows:
        stage = next((stage for cell in row.cells if (stage := training_of(cell))), None)
        artifact = outcomes.get(stage, UNTOUCHED).artifact if stage else None
        path = artifact.path / ROW_TOKENS_FILE if artifact else None
        if path and path.is_file():
            tokens = json.loads(path.read_text(encoding="utf-8"))
            found.append((row, np.array(tokens["tokens"]), np.array(tokens["trained_tokens"])))
    shown = [found[at] for at in in_turn([row for row, *_ in found], MOST_PANELS)]
    if not shown:
        return None
    medians = [
        f"{row.label} {formats.count(np.median(whole))} and {formats.count(np.median(part))}"
        for row, whole, part in shown
    ]
    caption = (
        "Tokens of the rows that each arm trains on, by the model's tokenizer and after cutting at max_length: of the "
        f"whole row, template included, and of the part that enters the loss. Medians: {'; '.join(medians)}."
    )
    panels = [plots.Distribution(row.label, whole, part) for row, whole, part in shown]
    svg = plots.length_distributions(panels, "tokens", ("whole row", "trained on"), "tokens")
    return Plot("Tokens per training row", svg, caption + left_out(len(found), MOST_PANELS))


def training_loss(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    curves = []
    trained = [row for row in plan.rows if trains(row.config.finetune)]
    for group, row in enumerate(trained[at] for at in in_turn(trained, MOST_CURVES)):
        drawn = 0
        for stage in dict.fromkeys(training_of(cell) for cell in row.cells):
            artifact = outcomes.get(stage, UNTOUCHED).artifact if stage else None
            path = artifact.path / METRICS_FILE if artifact else None
            lines = read_jsonl(path) if path and path.is_file() else []
            points = {line["step"]: line["train/loss"] for line in lines if "train/loss" in line and "step" in line}
            if points:
                losses = list(points.values())
                curves.append(plots.Curve(row.label, list(points), losses, group=group, is_repeat=drawn > 0))
                drawn += 1
    if not curves:
        return None
    repeats = " Further seeds of an arm are pale." if any(curve.is_repeat for curve in curves) else ""
    caption = f"Loss on the response tokens of each optimiser step, as it was logged.{repeats}"
    return Plot("Training loss", plots.loss_curves(curves), caption + left_out(len(trained), MOST_CURVES))


def validation_loss(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    found = epochs.trainings(plan, outcomes)
    curves = []
    for group, row in enumerate(list(found)[at] for at in in_turn(list(found), MOST_CURVES)):
        for drawn, record in enumerate(found[row]):
            x, y = ([entry[name] for entry in record["validation"]] for name in ("epoch", "loss"))
            curves.append(plots.Curve(row.label, x, y, group=group, is_repeat=drawn > 0))
    if not curves:
        return None
    drawing = plots.loss_curves(curves, "epoch", "validation loss (nats per token)", "validation")
    return Plot("Validation loss", drawing, epochs.VALIDATION_NOTE + left_out(len(found), MOST_CURVES))
