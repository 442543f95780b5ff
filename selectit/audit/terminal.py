"""What verify, diff and gc print.

Writes to the terminal only.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selectit.audit.diff import DifferentSetting, RunDifferences
from selectit.audit.sides import CellKey, Side
from selectit.audit.unused import Unused
from selectit.audit.verify import CheckedArtifact, Finding, WrongNumber
from selectit.store.names import ARTIFACTS_FOLDER

MAX_PLACES = 3


def listing(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "artifact")
    return table


def print_checked(checked: Sequence[CheckedArtifact], console: Console) -> None:
    table = listing("", "artifact", "file", "found")
    for one in checked:
        summary = f"{one.num_files} files, {one.num_bytes:,} bytes" if one.num_files else ""
        first = one.findings[0] if one.verdict != "whole" else None
        rest = one.findings[1:] if first is not None else one.findings
        style = COLOURS.get(one.verdict, "yellow")
        name, why = (first.file, first.why) if first else ("", summary)
        table.add_row(f"[{style}]{first.what if first else 'whole'}[/]", one.name, escape(name), escape(why))
        for finding in rest:
            style = COLOURS.get(finding.what, "yellow")
            table.add_row(f"[{style}]{finding.what}[/]", "", escape(finding.file), escape(finding.why))
    console.print(table)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in Counter(one.verdict for one in checked).items())
    console.print(f"{len(checked)} artifacts: {summary}", highlight=False)


COLOURS = {"whole": "green", "changed": "red", "missing": "red", "extra": "dim"}


def print_report_files(findings: Sequence[Finding], title: str, console: Console) -> None:
    """What was found in the files of a report."""
    if not findings:
        console.print(f"{title}: every file is as it was written", highlight=False, markup=False, soft_wrap=True)
        return
    table = listing("", "file of the report", "found")
    for one in findings:
        table.add_row(f"[{COLOURS.get(one.what, 'yellow')}]{one.what}[/]", escape(one.file), escape(one.why))
    console.print(table)
    if any(one.differs for one in findings):
        console.print(
            f"{title}: selectit report RECIPE writes it again from what is finished", style="red", markup=False
        )


def print_numbers(wrong: Sequence[WrongNumber], num_numbers: int, console: Console) -> None:
    if not wrong:
        console.print(f"results.csv: {num_numbers} numbers, each the one in its artifact", highlight=False)
        return
    table = listing("row", "benchmark", "column", "in results.csv", "in the artifacts")
    for one in wrong:
        table.add_row(*map(escape, (one.row, one.benchmark, one.column, one.written, one.found)))
    console.print(table)
    console.print(
        f"results.csv: {len(wrong)} places differ; selectit report RECIPE writes it again from what is finished",
        style="red", highlight=False,
    )  # fmt: skip


def print_comparison(one: Side, other: Side, comparison: RunDifferences, console: Console) -> None:
    console.print(f"A: {one.title}\nB: {other.title}", highlight=False, markup=False, soft_wrap=True)
    for note in [*one.notes, *other.notes]:
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    shared = [cell for cell in one.chains if cell in other.chains]
    none = "no setting in the fingerprint differs"
    _section("Settings in the fingerprint", none, comparison.settings, shared, console, explains=True)
    _section("Settings of execution only, which cannot move a number", "", comparison.execution, shared, console)
    _section("Circumstances", "", comparison.circumstances, shared, console)
    _print_moved(comparison, console)
    for title, cells in (("A", comparison.only_one), ("B", comparison.only_other)):
        if cells:
            console.print(f"\nOnly in {title}: {_places(cells, cells, whole=False)}", highlight=False)


def _section(
    title: str,
    empty: str,
    found: Sequence[DifferentSetting],
    cells: Sequence[CellKey],
    console: Console,
    explains: bool = False,
) -> None:
    if not found and not empty:
        return
    console.print(f"\n{title}", style="bold", highlight=False)
    if not found:
        console.print(empty, highlight=False)
        return
    table = listing("key", "A", "B", "where", *(["explains"] if explains else []))
    for one in found:
        where = f"{', '.join(one.roles)} of {_places(list(one.places), cells)}"
        explained = [f"{one.num_explained} of the numbers below" if one.num_explained else ""] if explains else []
        table.add_row(*map(escape, (one.key, one.one, one.other, where, *explained)))
    console.print(table)


def _print_moved(comparison: RunDifferences, console: Console) -> None:
    moved, total = comparison.moved, len(comparison.moved) + comparison.num_equal
    console.print("\nNumbers", style="bold")
    if not total:
        console.print("no number is on both sides", highlight=False)
        return
    if moved:
        table = listing("number", "A", "B", "B - A", "first difference on the way to it")
        for one in moved:
            table.add_row(
                escape(", ".join(one.cell)), f"{one.one:.6g}", f"{one.other:.6g}", f"{one.other - one.one:+.6g}",
                escape(one.because),
            )  # fmt: skip
        console.print(table)
    console.print(f"{len(moved)} of {total} numbers moved", highlight=False)


def _places(places: Sequence[CellKey], cells: Iterable[CellKey], whole: bool = True) -> str:
    """The rows, `all rows` where a difference is in each of them."""
    rows, every = dict.fromkeys(place[0] for place in places), dict.fromkeys(cell[0] for cell in cells)
    if whole and len(rows) == len(every) > 1:
        return "all rows"
    shown = list(rows)[:MAX_PLACES]
    return ", ".join(shown) + (f" and {len(rows) - MAX_PLACES} more" if len(rows) > MAX_PLACES else "")


def print_unused(unused: Sequence[Unused], behind: Mapping[str, Collection[str]], console: Console) -> None:
    """Args: behind: report -> folders that are kept because it was made of them."""
    for name, folders in behind.items():
        console.print(
            f"{len(folders)} folders are kept for the report {name} alone; remove its folder to give them up",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if not unused:
        console.print("every artifact folder is needed by a given recipe or a report", highlight=False)
        return
    table = listing("artifact", "what", "age", "bytes")
    for one in unused:
        name = one.path.name if one.path.parent.name == ARTIFACTS_FOLDER else f"{one.path.parent.name}/{one.path.name}"
        table.add_row(name, one.what, _age(one.last_used), f"{one.num_bytes:,}")
    console.print(table)
    console.print(
        f"{len(unused)} in all, {sum(one.num_bytes for one in unused):,} bytes, that no recipe and no report needs",
        highlight=False,
    )


def _age(moment: float) -> str:
    hours = max(0.0, time.time() - moment) / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} h"
