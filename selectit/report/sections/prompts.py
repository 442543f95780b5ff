"""One training row next to one prompt of each benchmark, verbatim: a difference of their templates is seen.

Reads trained_row.json of the finetune artifacts and the first line of items.jsonl of the evaluate artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from selectit.config import FinetuneStage
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.render.formats import count
from selectit.report.section import Section
from selectit.report.tables.results import UNTOUCHED, Result, rows_text
from selectit.store.names import EXAMPLE_FILE, ITEMS_FILE
from selectit.templates import template_name

MOST_SHOWN = 1600
"""Characters of one text; a longer one loses its middle, for templates show at both ends."""


@dataclass(frozen=True)
class Shown:
    title: str
    note: str
    segments: tuple[tuple[str, bool], ...]
    """(text, trained on)"""


@dataclass(frozen=True)
class Examples:
    """A part of the page and of the Markdown."""

    macro: ClassVar[str] = "examples"
    shown: Sequence[Shown]


def section(plan: Plan, outcomes: Mapping[Stage, Outcome], results: Sequence[Result]) -> Section | None:
    """The training rows, one of each template, then the prompts, one of each benchmark and form, chat format first."""
    shown = [*_trained(plan, outcomes), *_asked(plan, results)]
    return Section("Training example and prompts", (Examples(shown),), anchor="asked") if shown else None


def _trained(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> list[Shown]:
    rows: dict[str, dict[str, None]] = {}
    first: dict[str, Shown] = {}
    for stage in plan.stages:
        artifact = outcomes.get(stage, UNTOUCHED).artifact
        if not isinstance(stage.config, FinetuneStage) or artifact is None:
            continue
        template = stage.config.finetune.template
        rows.setdefault(template, {}).update(dict.fromkeys(row.label for row, _ in plan.owners[stage]))
        file = artifact.path / EXAMPLE_FILE
        if template not in first and file.is_file():
            example = json.loads(file.read_text(encoding="utf-8"))
            segments = tuple((part["text"], part["trained"]) for part in example["segments"])
            first[template] = Shown(f"training row {example['row_id']}", "", _cut(segments))
    return [
        Shown(
            shown.title,
            f"Template {template_name(template)}, of {rows_text(plan, rows[template])}. What is marked is trained on.",
            shown.segments,
        )
        for template, shown in first.items()
    ]


def _asked(plan: Plan, results: Sequence[Result]) -> list[Shown]:
    found: dict[tuple[str, str | None], tuple[Result, dict[str, None]]] = {}
    for result in results:
        config = result.cell.stage.config
        if result.artifact is not None and isinstance(config, EvaluateStage):
            key = (result.cell.benchmark, config.template if config.benchmark.chat_template else None)
            found.setdefault(key, (result, {}))[1][result.row.label] = None
    shown = []
    for (benchmark, template), (result, labels) in sorted(found.items(), key=lambda entry: entry[0][1] is None):
        assert result.artifact is not None
        with (result.artifact.path / ITEMS_FILE).open(encoding="utf-8") as lines:
            first = lines.readline()
        if not first:
            continue
        item = json.loads(first)
        rows = rows_text(plan, labels)
        note = (
            f"Chat format, of {rows}: the template {template_name(template)}, which is finetune.template."
            if template is not None
            else f"As base models are asked, of {rows}: the profile sets no chat_template for it, so a tuned model too "
            "sees a form that it was not trained in."
        )
        shown.append(
            Shown(f"{benchmark}: {item['task']}, item {item['item_id']}", note, _cut(((item["prompt"], False),)))
        )
    return shown


def _cut(segments: tuple[tuple[str, bool], ...]) -> tuple[tuple[str, bool], ...]:
    """A text without its middle, which is counted, where a segment of it is long."""
    return tuple((_without_middle(text), trained) for text, trained in segments)


def _without_middle(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    half = MOST_SHOWN // 2
    return f"{text[:half]}\n[... {count(len(text) - MOST_SHOWN)} characters ...]\n{text[-half:]}"
