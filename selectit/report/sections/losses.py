"""Health of the losses behind perplexity and IFD: mean loss, truncation, failures, rows above 1.

Reads losses.json of the losses artifacts and selection.json of the ifd arms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from selectit.config import LossStage, NeedsLosses
from selectit.plan.graph import LOSS_TEXTS, Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.render import formats
from selectit.report.section import Bullets, Listing, Paragraph, Section
from selectit.report.sections.raters import failures_text, readers
from selectit.report.tables.results import UNTOUCHED, rows_text
from selectit.report.tables.subsets import Subset, first_seed, notes_of
from selectit.store.names import LOSSES_RECORD
from selectit.templates import template_name

MEANING = "Mean loss of a row's response tokens, in nats; perplexity and IFD are computed from it."


def section(plan: Plan, outcomes: Mapping[Stage, Outcome], subsets: Sequence[Subset]) -> Section | None:
    listing = _losses(plan, outcomes)
    parts = (Paragraph(MEANING), listing, Bullets(_of_losses(subsets), style="notes"))
    return Section("Losses", parts) if listing.rows else None


def _losses(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Listing:
    columns = ("model", "text", "template", "used by", "rows", "losses", "mean loss", "truncated", "failures")
    rows = []
    for stage in plan.stages:
        if not isinstance(config := stage.config, LossStage):
            continue
        used_by = rows_text(plan, readers(plan, stage))
        name = (Path(config.model.path).name, LOSS_TEXTS[config.text], template_name(config.template), used_by)
        outcome = outcomes.get(stage, UNTOUCHED)
        if outcome.artifact is None:
            kind = "failed" if outcome.failed else "not run"
            rows.append((*name, f"{kind}: {formats.one_line(outcome.reason)}", *[formats.ABSENT] * 4))
            continue
        summary = json.loads((outcome.artifact.path / LOSSES_RECORD).read_text(encoding="utf-8"))
        counts = (formats.count(summary[key]) for key in ("num_rows", "num_losses"))
        truncated = formats.count(summary["num_truncated"])
        rows.append((*name, *counts, f"{summary['mean_loss']:.3f}", truncated, failures_text(summary)))
    return Listing(columns, tuple(rows), num_text_columns=4)


def _of_losses(subsets: Sequence[Subset]) -> list[str]:
    """The sentences of strategies that read losses, such as how many rows an ifd arm left out."""
    return [sentence for subset in first_seed(subsets) if reads_losses(subset) for sentence in notes_of(subset)]


def chosen_notes(subsets: Sequence[Subset]) -> list[str]:
    """Those of all other strategies."""
    return [sentence for subset in first_seed(subsets) if not reads_losses(subset) for sentence in notes_of(subset)]


def reads_losses(subset: Subset) -> bool:
    return any(isinstance(need, NeedsLosses) for need in subset.config.select.all_needs())
