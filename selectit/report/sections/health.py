"""Answer health of evaluations: which answers were no real answers, where that is so. Reads result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selectit.report.render.formats import spread
from selectit.report.section import Listing, Paragraph, Section
from selectit.report.tables.results import Result

NOTE = (
    "In percent of the answers of all seeds, truncated prompts in percent of the items. A dash: not known, or the "
    "benchmark has no such thing. Evaluations whose answers are all non-empty, readable, complete and asked whole are "
    "left out."
)
COLUMNS = ("empty", "unparsed", "limit", "end", "truncated")
HEADINGS = ("empty", "unparsed", "ended at the token limit", "ended by an end token", "prompt truncated")
NOT_CLEAN = ("empty", "unparsed", "limit", "truncated")


def section(results: Sequence[Result]) -> Section | None:
    """One line per row and benchmark with an answer that is not clean; lowest to highest over seeds."""
    cells: dict[tuple[str, str], list[Mapping[str, float | None]]] = {}
    for result in results:
        if health := result.record.get("answer_health"):
            cells.setdefault((result.row.label, result.cell.benchmark), []).append(health)
    rows = [
        (row, benchmark, *(spread([one[name] for one in found], _percent) for name in COLUMNS))
        for (row, benchmark), found in cells.items()
        if any(one[name] for one in found for name in NOT_CLEAN)
    ]
    listing = Listing(("row", "benchmark", *HEADINGS), tuple(rows), num_text_columns=2)
    return Section("Answer health", (Paragraph(NOTE), listing)) if rows else None


def _percent(share: float) -> str:
    """A share that is not 0 is never written as 0.0."""
    return "<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}"
