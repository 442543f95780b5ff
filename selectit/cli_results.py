"""The commands on finished work: verify, diff, export, gc.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selectit.errors import UserError

if TYPE_CHECKING:
    from selectit.audit.trace import ResultsFolder
    from selectit.audit.verify import Checked, WrongNumber

results_app = typer.Typer()
console = Console()

FINISHED = "Finished work"
RunsDir = Annotated[Path, typer.Option(help="Folder of the finished stages; shared by recipes.")]
Override = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the recipe.")]


def is_recipe(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()


@results_app.command(rich_help_panel=FINISHED)
def verify(
    target: Annotated[Path, typer.Argument(metavar="RECIPE|RESULTS", help="A recipe, runs/<name>, or an artifact.")],
    runs_dir: RunsDir = Path("runs"),
    set_: Override = [],
) -> None:
    """Hash every file behind a table again and compare every number with its artifact."""
    from selectit.audit.trace import is_artifact, open_results, with_inputs
    from selectit.audit.verify import check_artifact, check_numbers, left_out
    from selectit.fingerprint import Hasher

    results: ResultsFolder | None = None
    wrong: list[WrongNumber] = []
    if is_recipe(target):
        names, results, wrong = _of_recipe(target, runs_dir, set_)
        artifacts = results.artifacts
    elif set_:
        raise UserError(f"--set changes a recipe, and {target} is a folder")
    elif is_artifact(target):
        artifacts, names = target.absolute().parent, with_inputs(target.absolute().parent, [target.absolute().name])
    elif target.is_dir():
        results = open_results(target)
        artifacts, names = results.artifacts, with_inputs(results.artifacts, results.names)
    else:
        raise UserError(f"{target} does not exist; name a recipe, the folder of a report, or an artifact folder")
    absent, hasher = left_out(artifacts), Hasher()
    checked = [check_artifact(artifacts / name, absent, hasher) for name in names]
    _print_checked(checked)
    if results is not None:
        num_numbers, own = check_numbers(results)
        wrong = list(dict.fromkeys([*own, *wrong]))
        _print_numbers(wrong, num_numbers)
        if not is_recipe(target):
            console.print(
                "Means, spreads and differences between rows are compared only where the recipe is named.", style="dim"
            )
    if wrong or any(one.differs for one in checked):
        raise typer.Exit(1)


def _of_recipe(recipe: Path, runs_dir: Path, set_: list[str]) -> tuple[list[str], ResultsFolder, list[WrongNumber]]:
    """The finished folders of a recipe's plan, its results folder, and where its table is not the recipe's."""
    import csv
    import io

    from selectit.artifact import Store
    from selectit.audit.trace import open_results, with_inputs
    from selectit.audit.verify import compare_tables
    from selectit.engine import found
    from selectit.plan import build
    from selectit.recipe import load
    from selectit.report.csv_files import results_csv
    from selectit.report.write import read_table

    loaded = load(recipe, set_)
    results = open_results(runs_dir / loaded.config.name)
    plan = build(loaded)
    outcomes = found(plan, Store(runs_dir))
    made = results_csv(plan, outcomes, *read_table(plan, outcomes))
    finished = [o.artifact.path.name for o in outcomes.values() if o.artifact is not None]
    names = with_inputs(results.artifacts, [*finished, *results.names])
    return names, results, compare_tables(results.lines, list(csv.DictReader(io.StringIO(made))))


def _print_checked(checked: list[Checked]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "artifact", "file", "found"):
        table.add_column(column, overflow="fold")
    colour = {"whole": "green", "changed": "red", "missing": "red", "extra": "dim"}
    for one in checked:
        told = f"{one.num_files} files, {one.num_bytes:,} bytes" if one.num_files else ""
        first = one.findings[0] if one.verdict != "whole" else None
        rest = one.findings[1:] if first is not None else one.findings
        style = colour.get(one.verdict, "yellow")
        name, why = (first.file, first.why) if first else ("", told)
        table.add_row(f"[{style}]{first.what if first else 'whole'}[/]", one.name, escape(name), escape(why))
        for finding in rest:
            style = colour.get(finding.what, "yellow")
            table.add_row(f"[{style}]{finding.what}[/]", "", escape(finding.file), escape(finding.why))
    console.print(table)
    told = ", ".join(f"{count} {verdict}" for verdict, count in Counter(one.verdict for one in checked).items())
    console.print(f"{len(checked)} artifacts: {told}", highlight=False)


def _print_numbers(wrong: list[WrongNumber], num_numbers: int) -> None:
    if not wrong:
        console.print(f"results.csv: {num_numbers} numbers, each the one in its artifact", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("row", "benchmark", "column", "in results.csv", "in the artifacts"):
        table.add_column(column, overflow="fold")
    for one in wrong:
        table.add_row(*map(escape, (one.row, one.benchmark, one.column, one.written, one.found)))
    console.print(table)
    console.print(
        f"results.csv: {len(wrong)} places differ; selectit report RECIPE writes it again from what is finished",
        style="red", highlight=False,
    )  # fmt: skip
