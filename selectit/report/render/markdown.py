"""report.md: the sections of the report as far as they are text, without plots, items and single values."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from selectit.report.contents import ReportContents
from selectit.report.section import Bullets, Folded, Listing, Note, Paragraph, Section
from selectit.report.sections.prompts import Examples
from selectit.report.sections.results import DifferencesTable, ResultsTable


def markdown(contents: ReportContents) -> str:
    blocks = [f"# {_text(contents.name)}"]
    if contents.demonstration:
        blocks.append(f"> **{contents.demonstration}**")
    if contents.description:
        blocks.append(_text(contents.description))
    blocks.append(f"Recipe {_text(contents.recipe_file)}. Plots: report.html. Every single value: results.csv.")
    for section in contents.sections:
        blocks += _section(section)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section) -> list[str]:
    """Nothing of a section whose parts the page alone shows, but for its notes."""
    shown = [part for part in section.parts if type(part) in _BLOCKS]
    if section.parts and all(isinstance(part, Note) for part in shown):
        return []
    heading = f"{'##' if section.anchor else '###'} {_text(section.heading)}"
    return [heading, *(_BLOCKS[type(part)](part) for part in shown)]


def _paragraph(part: Paragraph | Note) -> str:
    return _text(part.text)


def _bullets(part: Bullets) -> str:
    numbers = (rf"\[{at}\] " if part.is_numbered else "" for at in range(1, len(part.sentences) + 1))
    return "\n".join(f"- {number}{_text(text)}" for number, text in zip(numbers, part.sentences, strict=True))


def _listing(listing: Listing) -> str:
    rows = [[_text(cell) for cell in row] for row in listing.rows]
    return _grid(listing.columns, rows, listing.num_text_columns)


def _folded(part: Folded) -> str:
    return _listing(part.listing)


def _results(part: ResultsTable) -> str:
    rows = [
        (
            f"**{_text(line.label)}** (baseline)" if line.is_baseline else _text(line.label),
            *(_text(entry.marked) for entry in (*line.entries, line.average, line.difference)),
        )
        for line in part.table.lines
    ]
    return _grid(part.table.columns, rows, num_text_columns=1)


def _differences(part: DifferencesTable) -> str:
    rows = [(_text(line.label), *(entry.marked for entry in line.differences)) for line in part.table.lines]
    return _grid(("arm", *part.table.benchmarks), rows, num_text_columns=1)


def _examples(part: Examples) -> str:
    blocks = ["One training row and one prompt of each benchmark, verbatim; text in ⟦ ⟧ is trained on."]
    for one in part.shown:
        blocks += [f"### {_text(one.title)}", _text(one.note), _verbatim(one.segments)]
    return "\n\n".join(block for block in blocks if block)


def _verbatim(segments: Iterable[tuple[str, bool]]) -> str:
    """A block of code whose fence is longer than any in the text."""
    text = "".join(f"⟦{text}⟧" if trained else text for text, trained in segments)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    return f"{fence}text\n{text}\n{fence}"


def _grid(columns: Sequence[str], rows: Iterable[Sequence[str]], num_text_columns: int) -> str:
    rule = ["---" if at < num_text_columns else "---:" for at in range(len(columns))]
    lines = [[_text(column) for column in columns], rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text from data: no markup, no line ends, no column of its own."""
    return re.sub(r"([\\|*`\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


_BLOCKS: dict[type, Callable[[Any], str]] = {
    Paragraph: _paragraph,
    Note: _paragraph,
    Bullets: _bullets,
    Listing: _listing,
    Folded: _folded,
    ResultsTable: _results,
    DifferencesTable: _differences,
    Examples: _examples,
}
"""What the Markdown shows of each kind of part; of others nothing."""
