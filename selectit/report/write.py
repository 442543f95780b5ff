"""Writing the report of a plan: report.html, report.md, two LaTeX files, three CSV files and report.json.

Reads what the stages left behind; writes into the recipe's results folder, report.json last. A report that
depends on nothing new and is as it was written is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.recipe.published import read_published
from selectit.recipe.rows import Recipe
from selectit.report.record import MARK, changed_files, files_of, made_with, read_record, sealed, sha256
from selectit.report.sections.caption import DEMONSTRATION, caption
from selectit.report.tables.comparisons import Comparisons
from selectit.report.tables.results import UNTOUCHED, Result, read_results, recipe_of
from selectit.report.tables.table import Table, make_table, mark_table
from selectit.store.fingerprint import digest
from selectit.store.names import (
    COMPARISONS_CSV,
    OVERLAP_CSV,
    REPORT_FILES,
    REPORT_PAGE,
    REPORT_RECORD,
    REPORT_TEXT,
    RESULTS_CSV,
    TABLE_NOTES_TEX,
    TABLE_TEX,
    VERIFICATION,
)


@dataclass(frozen=True)
class Report:
    folder: Path
    written: bool
    """False: the report that stands there is the report of these artifacts."""
    table: Table
    changed: tuple[str, ...] = ()
    """Files that somebody changed after they were written; they have been written again."""


def write_report(plan: Plan, outcomes: Mapping[Stage, Outcome], runs_dir: Path) -> Report:
    """Write the report where it is not there already.

    Args:   outcomes: what became of each stage; a stage that is not among them counts as not run.
    Raises: UserError where an artifact is damaged.
    """
    with _whole_artifacts(recipe_of(plan)):
        return _write(plan, outcomes, runs_dir / recipe_of(plan).config.name)


@contextmanager
def _whole_artifacts(recipe: Recipe) -> Iterator[None]:
    """Raises: UserError where a file of an artifact is no longer what its stage wrote."""
    try:
        yield
    except (json.JSONDecodeError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise UserError(
            f"the report of {recipe.path} is not made: a file of an artifact behind it is damaged ({error}). "
            f"selectit verify {recipe.path} names it; remove its folder, and selectit run makes it again"
        ) from error


def _write(plan: Plan, outcomes: Mapping[Stage, Outcome], folder: Path) -> Report:
    depends_on = _depends_on(plan, outcomes)
    record = read_record(folder) or {}
    is_same = record.get("fingerprint") == digest(depends_on) and set(files_of(record)) == set(REPORT_FILES)
    changed = changed_files(folder, record) if files_of(record) else []
    if is_same and not changed:
        _, table, _ = read_table(plan, outcomes, Comparisons.from_json(record["comparisons"]))
        return Report(folder, False, table)
    record, texts, table = make_report(plan, outcomes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    (folder / REPORT_RECORD).unlink(missing_ok=True)
    for name, text in {**texts, REPORT_RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n"}.items():
        write_whole(folder / name, text)
    return Report(folder, True, table, tuple(changed))


def make_report(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> tuple[dict[str, Any], dict[str, str], Table]:
    """The record, the texts of `FILES` and the table, of which nothing is written."""
    results, table, comparisons = read_table(plan, outcomes)
    texts = _texts(plan, outcomes, results, table, comparisons)
    depends_on = _depends_on(plan, outcomes)
    record = {
        "fingerprint": digest(depends_on),
        "depends_on": depends_on,
        "artifacts": [o.artifact.path.name for o in map(outcomes.get, plan.stages) if o and o.artifact is not None],
        "comparisons": comparisons.as_json(),
        "files": {name: sha256(text) for name, text in texts.items()},
    }
    return sealed(record), texts, table


def read_table(
    plan: Plan, outcomes: Mapping[Stage, Outcome], comparisons: Comparisons | None = None
) -> tuple[tuple[Result, ...], Table, Comparisons]:
    """The results, the finished table and its tests, of which nothing is written.

    Args: comparisons: where they are known already, from the report that stands.
    """
    results = read_results(plan, outcomes)
    table = make_table(plan, results)
    if comparisons is None:
        from selectit.report.tables.compare import compare  # with scipy, for which no unchanged report waits

        comparisons = compare(plan, results, table)
    demonstration = DEMONSTRATION if recipe_of(plan).config.demonstration else ""
    text = caption(plan, results, table, comparisons)
    table = mark_table(plan, table, comparisons)
    return results, replace(table, caption=text, demonstration=demonstration), comparisons


def _depends_on(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> dict[str, Any]:
    """All that can change a byte of the report."""
    config = recipe_of(plan).config
    shown = {"name", "description", "demonstration", "baselines", "primary", "margin", "seeds", "grid"}
    number = {stage: index for index, stage in enumerate(plan.stages)}
    return {
        "made_with": made_with(),
        "recipe": {"file": recipe_of(plan).path.name, **config.model_dump(mode="json", include=shown)},
        "published": [read_published(location).model_dump(mode="json") for location in config.published_files],
        "rows": [
            {
                "label": row.label,
                "arm": row.arm,
                "config": row.config.model_dump(mode="json"),
                "cells": [[c.benchmark, c.select_seed, c.train_seed, c.eval_seed, number[c.stage]] for c in row.cells],
            }
            for row in plan.rows
        ],
        "stages": [{"title": plan.title(stage), **_state(outcomes.get(stage, UNTOUCHED))} for stage in plan.stages],
    }


def _state(outcome: Outcome) -> dict[str, Any]:
    if outcome.artifact is None:
        return {"failed": outcome.failed, "reason": outcome.reason}
    manifest = outcome.artifact.manifest
    state = {key: manifest.get(key) for key in ("fingerprint", "content", "finished")}
    checked = outcome.artifact.path / VERIFICATION  # comes after the manifest, if it comes
    return {**state, "verification": checked.read_text(encoding="utf-8")} if checked.is_file() else state


def _texts(
    plan: Plan, outcomes: Mapping[Stage, Outcome], results: Sequence[Result], table: Table, comparisons: Comparisons
) -> dict[str, str]:
    from selectit.report.contents import gather  # with matplotlib and Jinja, for which no unchanged report waits
    from selectit.report.render.csv_files import comparisons_csv, overlap_csv, results_csv
    from selectit.report.render.latex import latex, latex_notes
    from selectit.report.render.markdown import markdown
    from selectit.report.render.page import page
    from selectit.report.sections.contamination import contamination
    from selectit.report.tables.subsets import overlaps, read_subsets
    from selectit.report.tables.texts import read_texts

    subsets = read_subsets(plan, outcomes)
    pairs = overlaps(subsets)
    texts = read_texts(subsets)
    contaminated = contamination(results, texts)
    contents = gather(plan, outcomes, results, table, comparisons, subsets, pairs, texts, contaminated)
    return {
        REPORT_PAGE: page(contents),
        REPORT_TEXT: markdown(contents),
        TABLE_TEX: latex(contents.name, contents.description, table),
        TABLE_NOTES_TEX: latex_notes(contents.name, table),
        RESULTS_CSV: results_csv(plan, outcomes, results, table, subsets, contaminated),
        COMPARISONS_CSV: comparisons_csv(comparisons),
        OVERLAP_CSV: overlap_csv(pairs),
    }
