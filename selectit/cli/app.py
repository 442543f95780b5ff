"""The `selectit` command: its sub-commands together, `doctor` and `data fetch`, and how it ends.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from selectit import __version__
from selectit.cli.consoles import console
from selectit.cli.evaluate_command import evaluate_app
from selectit.cli.examples import add_examples
from selectit.cli.grade_command import grade_app
from selectit.cli.inspect_command import inspect_app
from selectit.cli.losses_command import losses_app
from selectit.cli.recipe_commands import recipe_app
from selectit.cli.results_commands import results_app
from selectit.cli.stage_commands import files_app
from selectit.cli.strategies_command import strategies_app
from selectit.cli.weights_commands import weights_app
from selectit.environment import prepare_process
from selectit.errors import EXIT_PREEMPTED, Preempted, UserError, is_full, no_space

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=True,
    help="Select instruction data, fine-tune on it, evaluate: one recipe, one table.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="Texts that others wrote and this project does not ship.")
app.add_typer(recipe_app)
app.add_typer(files_app)
app.add_typer(inspect_app)
app.add_typer(evaluate_app)
app.add_typer(grade_app)
app.add_typer(results_app)
app.add_typer(losses_app)
app.add_typer(strategies_app)
app.add_typer(weights_app)
app.add_typer(data_app, name="data")


def _version(value: bool) -> None:
    if value:
        console.print(f"selectit {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@data_app.command("fetch")
def data_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="File names; default: all texts.")] = None,
    benchmarks: Annotated[str | None, typer.Option(help="Comma-separated: their files, for evaluate.data.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("data"),
) -> None:
    """Fetch the original rating and judge prompts and check their sha256, make pools, or get benchmarks' files."""
    from selectit.data.fetch import POOLS, SOURCES, fetch
    from selectit.store.outputs import Output, check_outputs

    check_outputs({}, Output("--out", out, ()))
    if benchmarks is not None:
        from selectit.evaluate.benchmarks.fetch_data import fetch_benchmark
        from selectit.evaluate.benchmarks.registry import benchmark_named, names_in

        listed = [name.strip() for name in benchmarks.split(",")]
        for benchmark in listed:  # a name with a typing error must not be found behind hours of downloads
            if not names_in(benchmark):
                benchmark_named(benchmark)
        for benchmark in listed:
            console.print(fetch_benchmark(benchmark, out), highlight=False, soft_wrap=True)
    for name in names or ([] if benchmarks is not None else list(SOURCES)):
        path = fetch(name, out)
        what = SOURCES[name].what if name in SOURCES else POOLS[name].what
        console.print(f"{path}: {what}", highlight=False, soft_wrap=True)


@app.command()
def doctor() -> None:
    """Say what this machine can do: versions, GPU, memory, sandbox, hub, keys present or not."""
    from selectit.cli.doctor import print_findings

    print_findings(console)


add_examples(
    app,
    recipe_app,
    files_app,
    inspect_app,
    evaluate_app,
    grade_app,
    results_app,
    losses_app,
    strategies_app,
    weights_app,
    data_app,
)


def _stop(signum: int, _: Any) -> None:
    print("\nstopped; what is finished is kept, and the same command resumes from here", file=sys.stderr)
    raise SystemExit(EXIT_PREEMPTED if signum == signal.SIGTERM else 128 + signum)


def main() -> None:
    """Entry point of the `selectit` command: errors meant for the user have no traceback."""
    prepare_process()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if not is_full(error):
            raise
        message = error.strerror  # of a write to an open file, which has no name here
        if error.filename:
            where = Path(error.filename).absolute()
            message = no_space(error, next(parent for parent in (where, *where.parents) if parent.is_dir()))
        print(f"error: {message}; what is finished is kept, free some and run the same command again", file=sys.stderr)
        sys.exit(1)
    except Preempted as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(stopped.code)


if __name__ == "__main__":
    main()
