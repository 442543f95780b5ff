"""The commands on finished work: verify, diff, compare, export, gc.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selectit.cli.consoles import console
from selectit.cli.recipe_commands import Override, RunsDir
from selectit.errors import UserError
from selectit.store.names import RESULTS_CSV

if TYPE_CHECKING:
    from selectit.audit.trace import ResultsFolder
    from selectit.audit.verify import Finding, WrongNumber

    MakeAgain = Callable[[], tuple[list[WrongNumber], list[Finding]]]

results_app = typer.Typer()

FINISHED = "Finished work"


def is_recipe(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()


@results_app.command(rich_help_panel=FINISHED)
def verify(
    target: Annotated[Path, typer.Argument(metavar="RECIPE|RESULTS", help="A recipe, runs/<name>, or an artifact.")],
    runs_dir: RunsDir = Path("runs"),
    set_: Override = [],
) -> None:
    """Hash every file of a table and behind it again, and make the report again from its artifacts."""
    from selectit.audit.terminal import print_checked, print_numbers, print_report_files
    from selectit.audit.trace import is_artifact, open_results, with_inputs
    from selectit.audit.verify import Finding, check_artifact, check_numbers, left_out
    from selectit.audit.verify_report import check_written
    from selectit.store.fingerprint import Hasher

    results: ResultsFolder | None = None
    wrong: list[WrongNumber] = []
    made_again: list[Finding] = []
    make_again: MakeAgain | None = None
    if is_recipe(target):
        names, results, make_again = _of_recipe(target, runs_dir, set_)
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
    print_checked(checked, console)
    findings: list[Finding] = []
    if make_again is not None:
        try:
            wrong, made_again = make_again()
        except Exception as error:
            if not any(one.differs for one in checked):
                raise
            why = f"not made again, because an artifact is damaged ({error})"
            made_again = [Finding("not verifiable", "", why)]
    if results is not None:
        num_numbers, own = check_numbers(results)
        wrong = list(dict.fromkeys([*own, *wrong]))
        print_numbers(wrong, num_numbers, console)
        cut = [Finding("changed", RESULTS_CSV, fault) for fault in results.faults]
        findings = list(dict.fromkeys([*cut, *check_written(results.path), *made_again]))
        print_report_files(findings, f"report {results.path.name}", console)
        if is_recipe(target):
            if not made_again:
                console.print("made again from its artifacts: the same text and plots", highlight=False)
        else:
            console.print("The report is made again from its artifacts only where the recipe is named.", style="dim")
    if wrong or any(one.differs for one in checked) or any(one.differs for one in findings):
        raise typer.Exit(1)


Side = Annotated[Path, typer.Argument(help="A recipe, the folder of a report, or an artifact folder.")]


@results_app.command(rich_help_panel=FINISHED)
def diff(a: Side, b: Side, runs_dir: RunsDir = Path("runs")) -> None:
    """Name the settings in which two results differ and the numbers that moved."""
    from selectit.audit.diff import compare
    from selectit.audit.sides import read_side
    from selectit.audit.terminal import print_comparison

    one, other = read_side(a, runs_dir), read_side(b, runs_dir)
    comparison = compare(one, other)
    if not comparison.num_shared:
        raise UserError(
            f"{a} and {b} have no row and benchmark in common (for artifacts: no metric); nothing to compare"
        )
    print_comparison(one, other, comparison, console)


Evaluated = Annotated[
    Path, typer.Argument(help="An evaluate artifact, the folder of a report, or --out of selectit evaluate.")
]


@results_app.command(rich_help_panel=FINISHED)
def compare(
    a: Evaluated,
    b: Evaluated,
    row: Annotated[str | None, typer.Option(help="Row of the report A; default: the rows that both have.")] = None,
    against: Annotated[str | None, typer.Option(help="Row of the report B; default: that of --row.")] = None,
    items: Annotated[int, typer.Option(min=0, help="Print this many items that differ, with both answers.")] = 0,
    whole: Annotated[bool, typer.Option("--whole", help="--items: texts as they are, not shortened.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two evaluated models item by item.

    For example, two rows of one report: selectit compare runs/my runs/my --row selectit --against random --items 3
    """
    import json
    from dataclasses import asdict

    from selectit.audit.evaluations import matched, of_row, place, read_evaluations
    from selectit.audit.print_two_models import print_models
    from selectit.report.two_models import compare_models

    sides = [read_evaluations(path) for path in (a, b)]
    ours = of_row(sides[0], row, a, "--row")
    # --row names a row of A alone where B is a single evaluation
    has_rows = any(one.row for one in sides[1])
    theirs = of_row(sides[1], against or (row if has_rows else None), b, "--against" if against else "--row")
    pairs = matched(ours, theirs)
    if not pairs:
        raise UserError(
            f"{a} and {b} have no benchmark, row and seeds in common; two rows of reports are compared with --row and "
            "--against"
        )
    named = [(one.benchmark, place(one, other), one.path, other.path) for one, other in pairs]
    found = compare_models(named, items, whole)
    if as_json:
        comparisons = [{**asdict(one), "result": one.word} for one in found]
        typer.echo(json.dumps({"a": str(a), "b": str(b), "comparisons": comparisons}, indent=2, ensure_ascii=False))
    else:
        console.print(f"A: {a}\nB: {b}", highlight=False, markup=False, soft_wrap=True)
        print_models(found, console)
    if not any(one.num_items for one in found):
        raise UserError(f"nothing could be compared: {found[0].benchmark}: {found[0].reason}")


@results_app.command(rich_help_panel=FINISHED)
def export(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    out: Annotated[Path, typer.Option(help="A new folder, or a file that ends in .zip.")],
    runs_dir: RunsDir = Path("runs"),
    weights: Annotated[bool, typer.Option("--weights", help="Pack the weights too.")] = False,
    inputs: Annotated[
        bool, typer.Option("--inputs/--no-inputs", help="Pack pools, benchmark data and local models (no weights).")
    ] = True,
    set_: Override = [],
) -> None:
    """Pack a table with everything needed to verify it and to make it again."""
    from selectit.audit.export import is_pack, write_pack
    from selectit.audit.pack import gather
    from selectit.plan.build import build
    from selectit.recipe.load import load
    from selectit.report import write_report
    from selectit.run.engine import found
    from selectit.run.recipe_outputs import check_recipe_outputs
    from selectit.store.outputs import Output
    from selectit.store.runs_folder import Store

    loaded = load(recipe, set_)
    check_recipe_outputs(loaded, runs_dir, Output("--out", out, None if out.suffix == ".zip" else ()))
    if out.suffix == ".zip" and out.is_file() and not is_pack(out):
        raise UserError(f"--out {out} is there and is not an export, which would replace it; name another --out")
    plan = build(loaded)
    outcomes = found(plan, Store(runs_dir))
    report = write_report(plan, outcomes, runs_dir)
    pack = gather(plan, outcomes, report.folder, weights, inputs)
    size = write_pack(pack, out)
    changed = [f"{name} was changed since it was written; it is written again" for name in report.changed]
    for note in (*changed, *pack.notes):
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{out}: {len(pack.entries) + 1} files, {size:,} bytes", highlight=False, soft_wrap=True)


@results_app.command(rich_help_panel=FINISHED)
def gc(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes whose work is kept.")],
    runs_dir: RunsDir = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Free them; without it they are only shown.")] = False,
    set_: Override = [],
) -> None:
    """Show the artifact folders and parsed pools that none of the recipes and no report needs, or free them."""
    from selectit.audit.terminal import print_unused
    from selectit.audit.unused import find_unread_pools, find_unused, free
    from selectit.plan.build import build
    from selectit.recipe.load import load
    from selectit.store.runs_folder import Store

    store = Store(runs_dir)
    plans = [build(load(recipe, set_)) for recipe in recipes]
    unused, behind = find_unused(plans, store)
    unused += find_unread_pools(plans)
    print_unused(unused, behind, console)
    if unused and yes:
        console.print(f"{free(unused):,} bytes freed", highlight=False)
    elif unused:
        console.print("Nothing was removed; add --yes to free them.", highlight=False)


def _of_recipe(recipe: Path, runs_dir: Path, set_: list[str]) -> tuple[list[str], ResultsFolder, MakeAgain]:
    """The finished folders of a recipe's plan, its results folder, and what finds where its report is another one."""
    from selectit.audit.trace import open_results, with_inputs
    from selectit.audit.verify import PACK, left_out
    from selectit.audit.verify_report import as_reported, check_made_again
    from selectit.plan.build import build
    from selectit.recipe.load import load
    from selectit.run.engine import found
    from selectit.store.runs_folder import Store

    loaded = load(recipe, set_)
    results = open_results(runs_dir / loaded.config.name)
    plan = build(as_reported(loaded, results.path) if (runs_dir / PACK).is_file() else loaded)
    outcomes = found(plan, Store(runs_dir, absent=left_out(results.artifacts)))
    finished = [o.artifact.path.name for o in outcomes.values() if o.artifact is not None]
    names = with_inputs(results.artifacts, [*finished, *results.names])
    return names, results, lambda: check_made_again(results, plan, outcomes)
