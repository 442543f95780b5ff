"""report.md: the table, what must be read with it, the arms and where each number came from, without plots."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from selectit.report.contents import ReportContents
from selectit.report.render.formats import Listing
from selectit.report.sections.composition import CORRELATIONS_NOTE
from selectit.report.sections.composition import RULE as CALCULATION_RULE
from selectit.report.sections.epochs import EPOCHS_NOTE, VALIDATION_NOTE
from selectit.report.sections.fidelity import NOTE as FIDELITY_NOTE
from selectit.report.sections.health import NOTE as ANSWER_HEALTH_NOTE
from selectit.report.sections.seeds import SEED_SPREAD
from selectit.report.tables.significance import LISTING_NOTE
from selectit.report.tables.table import Table


def markdown(contents: ReportContents) -> str:
    table = contents.table
    blocks = [f"# {_text(contents.name)}"]
    if table.demonstration:
        blocks.append(f"> **{table.demonstration}**")
    if contents.description:
        blocks.append(_text(contents.description))
    blocks.append(f"Recipe {_text(contents.recipe_file)}. Plots: report.html. Every single value: results.csv.")
    blocks += ["## Results", _results(table), _notes(table), _bullets(table.caption)]
    blocks += ["## Difference to the baseline by benchmark, in points", _differences(table)]
    if contents.comparisons.rows:
        blocks += ["## Comparisons with the baselines", _bullets(contents.findings), _listing(contents.comparisons)]
        blocks += [LISTING_NOTE]
    if contents.seed_spread.rows:
        blocks += ["## Spread over seeds by purpose", SEED_SPREAD, _listing(contents.seed_spread)]
    if (published := contents.published).sources:
        blocks += ["## Published results", f"Sources: {_text('; '.join(published.sources))}."]
        blocks += [_listing(published.listing)] if published.listing.rows else []
        blocks += [_numbered(published.reasons), _bullets(published.rest), _text(published.rule)]
    blocks += ["## Arms", _listing(contents.arms), _bullets(contents.arm_notes)]
    if contents.validation.rows:
        blocks += ["## Validation loss", _listing(contents.validation), VALIDATION_NOTE]
    if contents.epochs.rows:
        blocks += ["## Benchmarks after each epoch", _listing(contents.epochs), EPOCHS_NOTE]
    if contents.composition.rows:
        blocks += ["## Selected rows", _listing(contents.composition), CALCULATION_RULE]
    if contents.correlations.rows:
        blocks += ["## Rank correlation between arms", _listing(contents.correlations), CORRELATIONS_NOTE]
    if contents.fidelities.rows:
        blocks += ["## Sensitivity to the formula", _listing(contents.fidelities), FIDELITY_NOTE]
    if contents.contamination.rows:
        blocks += ["## Rows that overlap with a benchmark", _listing(contents.contamination)]
        blocks += [_text(contents.contamination_note)]
    if contents.ledgers.rows:
        blocks += ["## Scoring", _listing(contents.ledgers)]
    if contents.losses.rows:
        blocks += ["## Losses", _listing(contents.losses), _bullets(contents.above_one)]
    for found in contents.unscored:
        ids = ", ".join(f"{_text(row_id)} ({_text(failure)})" for row_id, failure in found.first)
        more = f" and {found.count - len(found.first)} more" if found.count > len(found.first) else ""
        blocks.append(f"{found.count} rows that could not be selected ({_text(found.rows_of_table)}): {ids}{more}")
    if contents.prompts:
        blocks += ["## Prompts", _bullets(contents.prompts)]
    if contents.shown:
        blocks += [
            "## Training example and prompts",
            "One training row and one prompt of each benchmark, verbatim; text in ⟦ ⟧ is trained on.",
        ]
        for one in contents.shown:
            blocks += [f"### {_text(one.title)}", _text(one.note), _verbatim(one.segments)]
    blocks += ["## Cost", _listing(contents.costs), _text(contents.cost_note)]
    if contents.answer_health.rows:
        blocks += ["## Answer health", _listing(contents.answer_health), ANSWER_HEALTH_NOTE]
    if contents.result_notes:
        blocks += ["## Notes of the evaluation", _bullets(contents.result_notes)]
    blocks += ["## Sources of each number", _listing(contents.given)]
    blocks += [_listing(contents.stages), _listing(contents.environments)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _results(table: Table) -> str:
    rows = [
        (
            f"**{_text(line.label)}** (baseline)" if line.is_baseline else _text(line.label),
            *(_text(entry.marked) for entry in (*line.entries, line.average, line.difference)),
        )
        for line in table.lines
    ]
    return _grid(table.columns, rows, num_text_columns=1)


def _differences(table: Table) -> str:
    rows = [(_text(line.label), *(entry.marked for entry in line.differences)) for line in table.lines]
    return _grid(("arm", *table.benchmarks), rows, num_text_columns=1)


def _notes(table: Table) -> str:
    return _numbered(table.notes)


def _numbered(notes: Iterable[str]) -> str:
    return "\n".join(rf"- \[{number}\] {_text(note)}" for number, note in enumerate(notes, start=1))


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {_text(sentence)}" for sentence in sentences)


def _verbatim(segments: Iterable[tuple[str, bool]]) -> str:
    """A block of code whose fence is longer than any in the text."""
    text = "".join(f"⟦{text}⟧" if trained else text for text, trained in segments)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    return f"{fence}text\n{text}\n{fence}"


def _listing(listing: Listing) -> str:
    rows = [[_text(cell) for cell in row] for row in listing.rows]
    return _grid(listing.columns, rows, listing.num_text_columns)


def _grid(columns: Sequence[str], rows: Iterable[Sequence[str]], num_text_columns: int) -> str:
    rule = ["---" if at < num_text_columns else "---:" for at in range(len(columns))]
    lines = [[_text(column) for column in columns], rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text from data: no markup, no line ends, no column of its own."""
    return re.sub(r"([\\|*`\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
