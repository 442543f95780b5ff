"""Stages that belong to no recipe: the options that their commands share, and how one is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selectit.cli.consoles import console, watched
from selectit.errors import UserError
from selectit.store.names import VERIFICATION

if TYPE_CHECKING:
    from selectit.config import Config

FILES = "One stage, on files"
PoolFile = Annotated[Any, typer.Argument(metavar="POOL", help="A file, a pattern of files, or a hub dataset id.")]
Profile = Annotated[str, typer.Option(help="Such as paper-2023, full, mathematics; or a YAML file.")]
BenchmarkData = Annotated[str, typer.Option(help="'hub', or a folder with mmlu/, bbh/, gsm8k/ ...")]
Benchmarks = Annotated[str | None, typer.Option(help="Comma-separated; default: all of the profile.")]
Judge = Annotated[
    str | None, typer.Option(help="Of AlpacaEval: hf:<model>, or '{model: ..., base_url: ...}' of an endpoint.")
]
Sandbox = Annotated[str, typer.Option(help="bwrap, or none: model-written code runs unprotected.")]
CometPython = Annotated[str | None, typer.Option(help="A Python with unbabel-comet, for COMET.")]


def options_of(context: typer.Context, section: type[Config]) -> dict[str, Any]:
    """The options of a command that are fields of a section, by name."""
    return {name: value for name, value in context.params.items() if name in section.model_fields}


def check_revision(model: str, revision: str | None) -> None:
    """Raises: UserError for a revision of a folder, which has none."""
    if revision is not None and Path(model).exists():
        raise UserError(
            f"--revision {revision} is of a hub model, and --model {model} is a folder here; leave one of them out"
        )


def run_stages(
    stages: list[Any],
    runs_dir: Path,
    wandb: bool,
    placed: dict[str, Path] | None = None,
    reuse: Sequence[Path] = (),
    *,
    quiet: bool,
    verbose: bool,
) -> dict[Any, Any]:
    """Run stages that belong to no recipe."""
    from selectit.config import WandbConfig
    from selectit.plan.graph import alone
    from selectit.run.engine import run_plan
    from selectit.run.stage_runner import Session
    from selectit.store.runs_folder import Store

    store = Store(runs_dir, placed, reuse)
    shown = watched(quiet, verbose)
    session = Session(store, shown, WandbConfig(enabled=wandb), group=runs_dir.name, tracebacks=verbose)
    return run_plan(alone(*stages), session)


def run_alone(
    stage: Any,
    runs_dir: Path,
    wandb: bool,
    placed: dict[str, Path] | None = None,
    reuse: Sequence[Path] = (),
    *,
    quiet: bool,
    verbose: bool,
    notes: Callable[[Path], list[str]] = lambda path: [],
) -> Path:
    """Run one stage; the folder it wrote.

    Args:   notes: what a person has to know of a stage that was finished before; one that runs states it itself.

    Raises: typer.Exit where it left no artifact.
    """
    outcome = run_stages([stage], runs_dir, wandb, placed, reuse, quiet=quiet, verbose=verbose)[stage]
    if outcome.artifact is None:
        if quiet:  # else it stands there already
            typer.echo(f"error: {outcome.reason}", err=True)
        raise typer.Exit(1)
    path = Path(outcome.artifact.path)
    for line in [] if outcome.ran or quiet else notes(path):
        console.print(line, highlight=False, soft_wrap=True)
    return path


def judge_verification(folder: Path, result: dict[str, Any], what: str, difference: float, best: str) -> None:
    """Print how far a ledger agrees with what was computed again, and if it does not, the rows that differ most.

    Args:   what: is compared; difference: the largest; best: which rows the overlap is of.
    Raises: typer.Exit with code 1 where it does not agree.
    """
    console.print(
        f"{result['num_rows']} of {result['num_rows_of_pool']} rows against one at a time in float32 "
        f"({result['rater']} path, {result['dtype']}): {what} differ by {difference:.1e} at most, rank correlation "
        f"{result['rank_correlation']:.5f}, the {best} {result['ratio']:.0%} overlap {result['subset_overlap']:.1%}\n"
        f"verification: {folder / VERIFICATION}",
        highlight=False,
        soft_wrap=True,
    )
    if result["agrees"]:
        console.print(f"agrees: within {result['tolerance']:g}", highlight=False)
        return
    lines = [f"  {row['row_id']}: {row['ledger']:.6f}, again {row['again']:.6f}" for row in result["most_different"]]
    heading = f"does not agree: a difference is beyond {result['tolerance']:g} (--tolerance). Most different are"
    console.print("\n".join([heading, *lines]), highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1)
