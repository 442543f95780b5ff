"""The commands on a recipe: run, plan, validate, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from selectit.cli.consoles import Quiet, Verbose, console, watched
from selectit.errors import UserError
from selectit.store.names import REPORT_PAGE

recipe_app = typer.Typer()

RECIPE = "A recipe"
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file, such as recipes/quickstart.yaml.")]
RunsDir = Annotated[Path, typer.Option(help="Folder of the finished stages; shared by recipes.")]
Override = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the recipe.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@recipe_app.command(rich_help_panel=RECIPE)
def run(
    recipe: RecipeFile,
    runs_dir: RunsDir = Path("runs"),
    set_: Override = [],
    executor: Annotated[
        str, typer.Option(help="Where stages run: local (one after the other), ray or slurm (those that are ready).")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="ray: a running cluster, such as auto; default: this machine alone.")
    ] = None,
    slurm: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="slurm: a parameter of submitit, such as timeout_min=600.")
    ] = [],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run what is missing of a recipe and print its table."""
    shown = watched(quiet, verbose)
    from selectit.plan.build import build
    from selectit.recipe.load import load
    from selectit.report import write_report
    from selectit.report.render.terminal import print_table
    from selectit.run.engine import log_report, run_plan
    from selectit.run.executors import make_executor
    from selectit.run.recipe_outputs import check_recipe_outputs
    from selectit.run.stage_runner import Session
    from selectit.store.runs_folder import Store

    started = time.monotonic()
    loaded = load(recipe, set_)
    check_recipe_outputs(loaded, runs_dir)
    plan, store = build(loaded), Store(runs_dir)
    session = Session(store, shown, loaded.config.wandb, group=loaded.config.name, tracebacks=verbose)
    outcomes = run_plan(plan, session, make_executor(executor, session, ray_address, slurm))
    report = write_report(plan, outcomes, runs_dir)
    if report.written and loaded.config.wandb.enabled:
        log_report(report, session, loaded.config)
    print_table(report, console)
    num_ran = sum(outcome.ran for outcome in outcomes.values())
    num_missing = sum(outcome.artifact is None for outcome in outcomes.values())
    missing = f", {num_missing} without a result" if num_missing else ""
    console.print(
        f"{num_ran} of {len(plan.stages)} stages executed{missing}; {time.monotonic() - started:.0f} s\n"
        f"report: {report.folder / REPORT_PAGE}",
        highlight=False,
        soft_wrap=True,
    )
    if any(outcome.failed for outcome in outcomes.values()):
        raise typer.Exit(1)


@recipe_app.command(rich_help_panel=RECIPE)
def plan(
    recipe: RecipeFile,
    runs_dir: RunsDir = Path("runs"),
    set_: Override = [],
    price: Annotated[bool, typer.Option("--price", help="Count hours, memory, disk and judge calls.")] = False,
    tflops: Annotated[float | None, typer.Option(min=1e-6, help="--price: peak TFLOP/s of the device.")] = None,
    utilisation: Annotated[float, typer.Option(min=1e-3, max=1, help="--price: share of the peak.")] = 0.4,
    measure: Annotated[bool, typer.Option("--measure", help="--price: take the peak of a matmul here.")] = False,
    power: Annotated[
        float | None,
        typer.Option(min=1e-6, max=100, help="Seeds and items that a difference of this many points needs."),
    ] = None,
    seed_spread: Annotated[
        float | None, typer.Option(min=0, max=100, help="--power: points over seeds; default: that of finished runs.")
    ] = None,
    disagreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="--power: share of items that one of two models solves.")
    ] = None,
    seed_disagreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="--power: the same of two training seeds of one method.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show every stage: done, to resume or to run, and why."""
    stated = (seed_spread, disagreement, seed_disagreement)
    if power is None and any(one is not None for one in stated):
        raise UserError("--seed-spread, --disagreement and --seed-disagreement belong to --power, such as --power 2")
    if power is not None and price:
        raise UserError("--power and --price are two questions; ask one at a time")
    if not price and (tflops is not None or measure):
        raise UserError("--tflops and --measure belong to --price")
    if tflops is not None and measure:
        raise UserError("--tflops and --measure exclude each other: one states the speed, the other measures it")
    from selectit.plan.build import build, rater_lines
    from selectit.plan.status import inspect
    from selectit.recipe.load import load
    from selectit.store.runs_folder import Store

    loaded = load(recipe, set_)
    graph, store = build(loaded), Store(runs_dir)
    if power is not None:
        _print_power(graph, store, power, stated, as_json, quiet)
        return
    states = inspect(graph, store)
    if as_json:
        from selectit.cli import json_output

        priced = _price(graph, states, store, tflops, utilisation, measure) if price else None
        typer.echo(json_output.as_text(json_output.of_plan(graph, states, priced)))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("status", "stage", "why"):
        table.add_column(column, overflow="fold")
    colour = {"done": "green", "resume": "yellow", "run": "cyan", "blocked": "red"}
    reasons = list(dict.fromkeys(state.why for state in states.values() if state.status == "blocked"))
    for stage in graph.stages:
        state = states[stage]
        why = f"reason {reasons.index(state.why) + 1} below" if state.status == "blocked" else state.why
        table.add_row(f"[{colour[state.status]}]{state.status}[/]", graph.title(stage), escape(why))
    if not quiet:
        console.print(table)
    for number, reason in enumerate(reasons, start=1):
        console.print(f"{number}: {reason}", highlight=False, markup=False, soft_wrap=True)
    counts = {s: sum(x.status == s for x in states.values()) for s in colour}
    console.print(
        f"{len(graph.rows)} rows, {len(graph.stages)} stages: "
        + ", ".join(f"{count} {status}" for status, count in counts.items() if count),
        highlight=False,
    )
    for line in [] if quiet else rater_lines(loaded):
        console.print(f"rater of {line}", highlight=False, markup=False, soft_wrap=True)
    if price:
        from selectit.cost.terminal import print_price

        print_price(_price(graph, states, store, tflops, utilisation, measure), console)


def _print_power(graph: Any, store: Any, points: float, stated: Any, as_json: bool, quiet: bool) -> None:
    from selectit.report.sections.power import Stated, power
    from selectit.run.engine import found

    needed = power(graph, found(graph, store), points, Stated(*stated))
    if as_json:
        from selectit.cli import json_output

        typer.echo(json_output.as_text(json_output.of_power(needed)))
        return
    table = Table(box=None, pad_edge=False)
    for at, column in enumerate(needed.listing.columns):
        table.add_column(column, justify="right" if at else "left")
    for row in needed.listing.rows:
        table.add_row(*row)
    console.print(table)
    for note in [] if quiet else needed.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _price(graph: Any, states: Any, store: Any, tflops: float | None, utilisation: float, measure: bool) -> Any:
    from selectit.cost import speed
    from selectit.cost.price import price

    device = None if tflops is None else speed.stated(tflops, utilisation)
    return price(graph, states, store, speed.measure(utilisation) if measure else device)


@recipe_app.command(rich_help_panel=RECIPE)
def validate(
    recipe: RecipeFile,
    set_: Override = [],
    inputs: Annotated[
        bool,
        typer.Option("--inputs", help="Also check tokenizers, templates, training rows and benchmarks; no weights."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a recipe and its pools; all errors together."""
    if as_json:
        from selectit.cli import json_output

        lines: list[str] = []
        try:
            num_rows, num_stages = _validated(recipe, set_, inputs, lines.append)
        except UserError as error:
            typer.echo(json_output.as_text(json_output.of_errors(str(recipe), error.faults)))
            raise typer.Exit(1) from error
        found = {"num_rows": num_rows, "num_stages": num_stages, "notes": lines}
        typer.echo(json_output.as_text({**json_output.of_errors(str(recipe), ()), **found}))
        return

    def show(line: str) -> None:
        if not quiet:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    num_rows, num_stages = _validated(recipe, set_, inputs, show)
    show(f"{recipe}: valid; {num_rows} rows, {num_stages} stages")


def _validated(recipe: Path, set_: list[str], inputs: bool, show: Callable[[str], None]) -> tuple[int, int]:
    """Rows and stages of a recipe without errors. Raises: UserError with all of them."""
    from selectit.data.fetch import name_of
    from selectit.plan.build import build
    from selectit.plan.subset_sizes import check_pools
    from selectit.recipe.load import load
    from selectit.recipe.places import placed
    from selectit.recipe.validate import recipe_error
    from selectit.scoring.prompts import stated_rating_prompts

    loaded = load(recipe, set_)
    graph = build(loaded, stated_rating_prompts)
    if faults := check_pools(loaded):
        raise recipe_error(recipe, [placed(fault, loaded.written, recipe) for fault in faults])
    if inputs:
        _check_training_inputs(graph, show)
        _check_benchmarks(graph, show)
    locations = [where for row in loaded.rows for where in (row.config.pool.path, row.config.score.rating_prompts)]
    for name in dict.fromkeys(name_of(where) for where in locations if not Path(where).exists()):
        if name is not None:
            show(f"{name} is fetched when the recipe is first planned or run")
    return len(graph.rows), len(graph.stages)


def _check_training_inputs(graph: Any, show: Callable[[str], None]) -> None:
    """Raises: UserError with what is wrong in any training of the recipe."""
    from selectit.config import FinetuneStage
    from selectit.finetune.check import check_inputs, without_seed

    trainings = {
        (without_seed(stage.config), stage.inputs[0][1].config.pool): None
        for stage in graph.stages
        if isinstance(stage.config, FinetuneStage)
    }
    faults: dict[str, None] = {}
    for config, pool in trainings:
        try:
            for line in check_inputs(config, pool).lines():
                show(line)
        except UserError as error:
            faults[str(error)] = None
    if faults:
        raise UserError("\n".join(faults))


def _check_benchmarks(graph: Any, show: Callable[[str], None]) -> None:
    """Raises: UserError with what any benchmark lacks: its data here, a package, what lm-eval knows of its task."""
    from selectit.evaluate.stage_config import EvaluateStage

    configs = [stage.config for stage in graph.stages if isinstance(stage.config, EvaluateStage)]
    if not configs:
        return
    from selectit.evaluate.stage import check_benchmark

    faults: dict[str, None] = {}
    for config in {(config.benchmark, config.data): config for config in configs}.values():
        try:
            if (found := check_benchmark(config)) is not None:
                show(found)
        except UserError as error:
            faults[str(error)] = None
    if faults:
        raise UserError("\n".join(faults))


@recipe_app.command(rich_help_panel=RECIPE)
def report(
    recipe: RecipeFile,
    runs_dir: RunsDir = Path("runs"),
    set_: Override = [],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the report from what is finished; the rest are missing results with their reason."""
    from selectit.audit.verify import left_out
    from selectit.plan.build import build
    from selectit.recipe.load import load
    from selectit.report import write_report
    from selectit.report.render.terminal import print_table
    from selectit.run.engine import found
    from selectit.run.recipe_outputs import check_recipe_outputs
    from selectit.store.names import ARTIFACTS_FOLDER
    from selectit.store.runs_folder import Store

    loaded = load(recipe, set_)
    check_recipe_outputs(loaded, runs_dir)
    graph = build(loaded)
    store = Store(runs_dir, absent=left_out(runs_dir / ARTIFACTS_FOLDER))
    written = write_report(graph, found(graph, store), runs_dir)
    if as_json:
        from selectit.cli import json_output
        from selectit.report.plain import of_report

        typer.echo(json_output.as_text(of_report(written)))
        return
    if not quiet:
        print_table(written, console)
    console.print(f"report: {written.folder / REPORT_PAGE}", highlight=False, soft_wrap=True)
