"""The table on the terminal, in 100 columns, with the reasons of missing results under it."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from selectit.report.tables.table import DAGGER, Entry
from selectit.report.write import Report

WIDTH = 100
WIDEST_LABEL = 34
FAILED, MISSING = "✗", "–"
"""Marks of a missing result: a stage that failed, and a number that is missing for any other reason."""


BASELINE = "*"
SHORT = {"difference": "diff."}


def print_table(report: Report, console: Console) -> None:
    """Print the table, the reasons of missing results, and its caption."""
    table = report.table
    if table.demonstration:
        console.print(Text(table.demonstration, style="bold yellow"), width=WIDTH)
    grid = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for at, column in enumerate(table.columns):
        header = Text(SHORT.get(column, column.replace("_", "_\n") if len(column) > 8 else column))
        grid.add_column(
            header, justify="right" if at else "left", overflow="fold", min_width=4,
            max_width=None if at else WIDEST_LABEL,  # rich leaves out the last columns where the first is too wide
        )  # fmt: skip
    for line in table.lines:
        label = Text(line.label)
        if line.is_baseline:
            label.append(f" {BASELINE}", style="cyan")
        grid.add_row(label, *(_cell(entry) for entry in (*line.entries, line.average, line.difference)))
    console.print(grid, width=WIDTH)
    console.print(Text(f"{BASELINE} the baseline", style="cyan"))
    for number, note in enumerate(table.notes, start=1):
        console.print(Text(f"[{number}] {note}", style="yellow"), width=WIDTH)
    for sentence in table.caption:
        console.print(Text(sentence, style="dim"), width=WIDTH)
    for name in report.changed:
        console.print(Text(f"{name}: changed since it was written; written again", style="yellow"), soft_wrap=True)


def _cell(entry: Entry) -> Text:
    """A number over its spread, so that a column stays as narrow as its numbers."""
    numbers = "".join(f"[{number}]" for number in entry.notes)
    if entry.mean is None:
        return Text(f"{FAILED if entry.failed else MISSING}{numbers}", style="red" if entry.failed else "yellow")
    text, *spread = entry.text.split(" ± ")
    lines = [f"{text}{entry.mark}{DAGGER if entry.incomplete else ''}{numbers}", *(f"±{std}" for std in spread)]
    return Text("\n".join(lines))
