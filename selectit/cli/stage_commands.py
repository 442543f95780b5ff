"""The commands that run one stage on files, without a recipe: score, select, finetune.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from selectit.cli.consoles import Quiet, Verbose, console
from selectit.cli.pool_options import input_paths, with_pool_options
from selectit.cli.recipe_commands import RunsDir
from selectit.cli.single_stage import FILES, PoolFile, check_revision, judge_verification, run_alone
from selectit.cli.strategies_command import Plugins
from selectit.errors import UserError
from selectit.store.names import (
    ADAPTER_FOLDER,
    ARTIFACTS_FOLDER,
    LEDGER,
    MANIFEST,
    MESSAGES_FILE,
    MODEL_FOLDER,
    SCORE_RECORD,
    SCORES_FILE,
    SELECTION_FILE,
)

files_app = typer.Typer()

REUSE = "Runs folder, or --out of an earlier score: what it rated is not rated again."
Prompts = Annotated[str, typer.Option(help="File with one rating prompt per line, or 'default'.")]


@files_app.command(rich_help_panel=FILES)
@with_pool_options
def score(
    pool: PoolFile,
    model: Annotated[str, typer.Option(help="Rater: model folder or hub id.")],
    out: Annotated[Path | None, typer.Option(help="Folder for ledger.parquet and score.json.")] = None,
    rating_prompts: Prompts = "default",
    num_rating_prompts: Annotated[int, typer.Option(help="The first K rating prompts.")] = 5,
    fidelity: Annotated[str, typer.Option(help="paper, released_code or corrected.")] = "corrected",
    max_length: Annotated[int | None, typer.Option(help="Tokens of a rating text at most.")] = None,
    long_rows: Annotated[str, typer.Option(help="Texts beyond --max-length: cut, skip or fail.")] = "cut",
    turns: Annotated[str, typer.Option(help="Conversations, the answer that is rated: first, last or mean.")] = "first",
    template: Annotated[str, typer.Option(help="Form of a rating text: plain, or the rater's chat.")] = "plain",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    num_processes: Annotated[int | None, typer.Option(help="Default: one per GPU, on CPU by cores and pool.")] = None,
    launcher: Annotated[str, typer.Option(help="external: you start the processes, on one node or many.")] = "none",
    backend: Annotated[str, typer.Option(help="transformers or vllm.")] = "transformers",
    vllm_python: Annotated[str | None, typer.Option(help="--backend vllm: a Python with vLLM; default: this.")] = None,
    reuse: Annotated[list[Path], typer.Option(help=REUSE)] = [Path("runs")],
    quantization: Annotated[str, typer.Option(help="Weights of the rater: none, 8bit or 4bit.")] = "none",
    verify: Annotated[int, typer.Option(min=0, help="Rows to rate again, one by one in float32, and compare.")] = 0,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="--verify: score difference beyond which it fails; default: 0.001, 0.05 in half."),
    ] = None,
    estimate: Annotated[bool, typer.Option(help="Say what it would cost, and rate nothing.")] = False,
    tflops: Annotated[
        float | None, typer.Option(help="--estimate: peak of another machine; default: measured here.")
    ] = None,
    utilisation: Annotated[
        float | None, typer.Option(help="--estimate: the share of --tflops that is reached.")
    ] = None,
    wandb: Annotated[bool, typer.Option(help="Log to W&B.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Rate every row of a pool with one model."""
    from selectit.plan import stages as planning
    from selectit.recipe.load import resolve_arm
    from selectit.scoring.notes import notes
    from selectit.store.outputs import POOL, check_outputs, stage_folder

    if tolerance is not None and not verify:
        raise UserError("--tolerance belongs to --verify, such as --verify 50")
    if out is not None and not estimate:
        check_outputs(
            {POOL: input_paths(pool), "--model": [model], "--rating-prompts": [rating_prompts]},
            stage_folder("--out", out, "score"),
        )
    select = {
        "strategy": "selectit", "level": "sentence", "fidelity": fidelity, "num_rating_prompts": num_rating_prompts,
    }  # fmt: skip
    arm = resolve_arm(
        {
            "pool": pool,
            "model": {"path": model, "dtype": dtype},
            "score": {
                "rating_prompts": rating_prompts, "max_length": max_length, "long_rows": long_rows,
                "turns": turns, "template": template, "quantization": quantization,
                "num_processes": num_processes, "launcher": launcher, "backend": backend, "vllm_python": vllm_python,
            },
            "select": select,
        }
    )  # fmt: skip
    [stage] = planning.score_stages(arm, planning.needed_prompts([arm], [0]))
    if estimate:
        _estimate(stage, out, _existing(reuse), tflops, utilisation)
        return
    if out is None:
        raise UserError("--out is missing: the folder for ledger.parquet and score.json (--estimate needs none)")
    folder = run_alone(
        stage, out / ".runs", wandb, placed={"score": out}, reuse=_existing(reuse), quiet=quiet, verbose=verbose,
        notes=lambda path: notes(json.loads((path / SCORE_RECORD).read_text(encoding="utf-8"))),
    )  # fmt: skip
    console.print(f"ledger: {folder / LEDGER}", highlight=False, soft_wrap=True)
    if verify:
        _verify(stage.config, folder, verify, fidelity, tolerance)


@files_app.command(rich_help_panel=FILES)
@with_pool_options
def select(
    pool: PoolFile,
    out: Annotated[Path, typer.Option(help="File for the subset, in the pool's own format or that of --as.")],
    strategy: Annotated[str, typer.Option(help="One of those that selectit strategies lists.")] = "selectit",
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="A field of the strategy, such as alpha=0.5.")
    ] = [],
    model: Annotated[
        list[str], typer.Option(help="Rater, or tokenizer of lengths in tokens; repeat for level model.")
    ] = [],
    ratio: Annotated[float | None, typer.Option(help="Share of the rows that is kept; default: 0.2.")] = None,
    as_: Annotated[
        str | None, typer.Option("--as", help="Write messages, alpaca or sharegpt (.jsonl or .json), for other tools.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="JSONL file with one line per row of the pool.")] = None,
    plugin: Plugins = [],
    rating_prompts: Prompts = "default",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of random strategies and of the token level's prompt.")
    ] = 42,
    max_length: Annotated[int | None, typer.Option(help="Of what a model reads: tokens of a text at most.")] = None,
    long_rows: Annotated[str, typer.Option(help="Ratings: texts beyond --max-length: cut, skip or fail.")] = "cut",
    turns: Annotated[str, typer.Option(help="Ratings: the answer that is rated: first, last or mean.")] = "first",
    rating_template: Annotated[str, typer.Option(help="Ratings: plain, or the rater's chat.")] = "plain",
    dtype: Annotated[str, typer.Option(help="Of the raters: auto, float32, bfloat16 or float16.")] = "auto",
    quantization: Annotated[str, typer.Option(help="Weights of the raters: none, 8bit or 4bit.")] = "none",
    reuse: Annotated[list[Path], typer.Option(help=REUSE)] = [],
    runs_dir: RunsDir = Path("runs"),
    wandb: Annotated[bool, typer.Option(help="Log to W&B.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Choose the best part of a pool; train on it with any tool."""
    from selectit.cli.chosen_strategy import files_named, given_fields
    from selectit.data import other_tools
    from selectit.plan.lone_stages import lone_selection
    from selectit.selection import steps
    from selectit.selection.registry import known
    from selectit.selection.strategy import strategy_of
    from selectit.selection.ties import tie_lines
    from selectit.store.outputs import POOL, Output, check_outputs, runs_folder

    _check_suffix(pool, out, as_)
    strategies = known(plugin)
    fields = given_fields(strategies, strategy, set_, ratio)
    written = [Output("--out", out), *([Output("--scores", scores)] if scores is not None else [])]
    check_outputs(
        {
            POOL: input_paths(pool), "--model": model, "--rating-prompts": [rating_prompts],
            "--reuse": _existing(reuse), "--plugin": plugin, "--set": files_named(strategies, fields),
        },
        runs_folder(runs_dir),
        *written,
    )  # fmt: skip
    models = [{"path": path, "dtype": dtype} for path in model]
    score = {
        "rating_prompts": rating_prompts, "max_length": max_length, "long_rows": long_rows, "turns": turns,
        "template": rating_template, "quantization": quantization,
    }  # fmt: skip
    chosen = lone_selection(pool, models, score, fields, strategies, ratio)
    if not model and chosen.needs_model:
        raise UserError(f"--strategy {strategy} needs --model (a folder or hub id)")
    stage = chosen.stage(seed)
    if as_ is not None:
        other_tools.check_rows(chosen.arm.pool, as_)

    def notes(path: Path) -> list[str]:
        selection = _selection(path)
        return [*tie_lines(selection, selection), *steps.notes(selection), *strategy_of(chosen.arm).notes(selection)]

    folder = run_alone(stage, runs_dir, wandb, reuse=reuse, quiet=quiet, verbose=verbose, notes=notes)
    selection = _selection(folder)
    if as_ is None:
        shutil.copyfile(folder / selection["subset"], out)
    else:
        other_tools.write_as(folder / selection["subset"], folder / MESSAGES_FILE, chosen.arm.pool, as_, out)
    if scores is not None:
        shutil.copyfile(folder / SCORES_FILE, scores)
    console.print(
        f"{selection['num_selected']} of {selection['num_rows']} rows: {out}", highlight=False, soft_wrap=True
    )
    if not quiet:
        console.print(f"selection: {folder}", highlight=False, soft_wrap=True)


@files_app.command(rich_help_panel=FILES)
@with_pool_options
def finetune(
    pool: PoolFile,
    model: Annotated[str, typer.Option(help="Model folder or hub id.")],
    out: Annotated[Path, typer.Option(help="Folder for the adapter or the model.")],
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub model.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    method: Annotated[str, typer.Option(help="lora, qlora or full.")] = "lora",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Training seed.")] = 42,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A field such as learning_rate.")] = [],
    wandb: Annotated[bool, typer.Option(help="Log to W&B.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune a model on all rows of a file."""
    from selectit.plan import stages as planning
    from selectit.recipe.load import parse_overrides, resolve_arm
    from selectit.store.outputs import POOL, check_outputs, stage_folder

    check_revision(model, revision)
    settings = {"method": method, **parse_overrides([f"finetune.{s}" for s in set_]).get("finetune", {})}
    arm = resolve_arm(
        {
            "pool": pool,
            "model": {"path": model, "revision": revision, "dtype": dtype},
            "select": {"strategy": "full"},
            "finetune": settings,
        }
    )
    if arm.finetune.method == "none":
        raise UserError("--method none trains nothing; allowed here are lora, qlora and full")
    check_outputs(
        {POOL: input_paths(pool), "--model": [model], "--set template": [arm.finetune.template]},
        stage_folder("--out", out, f"finetune-{arm.finetune.method}"),
    )
    subset = planning.select_stage(arm, seed, {})
    stage = planning.finetune_stage(arm, seed, subset)
    folder = run_alone(stage, out / ".runs", wandb, placed={stage.kind: out}, quiet=quiet, verbose=verbose)
    name = ADAPTER_FOLDER if arm.finetune.trains_adapter else MODEL_FOLDER
    console.print(f"{name}: {folder / name}", highlight=False, soft_wrap=True)


def _estimate(stage: Any, out: Path | None, reuse: list[Path], tflops: float | None, utilisation: float | None) -> None:
    """Args: out: where the stage may have been begun."""
    from selectit.cost.kept import Kept
    from selectit.cost.score_estimate import estimate, estimate_lines, measured
    from selectit.cost.speed import stated
    from selectit.plan.graph import alone
    from selectit.plan.status import inspect
    from selectit.store.runs_folder import Store

    if (tflops is None) != (utilisation is None):
        raise UserError("--tflops and --utilisation are given together, such as --tflops 989 --utilisation 0.4")
    speed = None if tflops is None or utilisation is None else stated(tflops, utilisation)
    plan = alone(stage)
    store = Store(Path("runs"), None if out is None else {stage.kind: out}, reuse)
    now = inspect(plan, store)[stage]
    if now.identity is None:
        raise UserError(now.why)
    found = estimate(stage.config, Kept.of(stage, now, store))
    if speed is None and found.count.num_texts:
        speed = measured(stage.config, found)
    for line in estimate_lines(stage.config, found, speed):
        console.print(line, highlight=False, soft_wrap=True)


def _existing(reuse: list[Path]) -> list[Path]:
    """Raises: UserError for a folder that holds no artifact; the default one may be absent."""
    for folder in reuse:
        if folder != Path("runs") and not any((folder / name).exists() for name in (MANIFEST, ARTIFACTS_FOLDER)):
            raise UserError(
                f"--reuse {folder}: neither manifest.json nor artifacts/ there; name a runs folder, or the --out of a "
                "finished selectit score"
            )
    return reuse


def _selection(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / SELECTION_FILE).read_text(encoding="utf-8"))
    return found


def _verify(config: Any, folder: Path, num_rows: int, fidelity: Any, tolerance: float | None) -> None:
    from selectit.scoring.verify import verify
    from selectit.tracking import Tracker

    result = verify(config, folder, num_rows, fidelity, Tracker(folder, console), tolerance)
    judge_verification(folder, result, "sentence scores", result["max_sentence_score_difference"], "best")


def _check_suffix(pool: dict[str, Any], out: Path, form: str | None) -> None:
    from selectit.config import PoolConfig
    from selectit.data.files import subset_suffix
    from selectit.data.other_tools import SUFFIXES, check_form

    if form is not None:
        check_form(form)
        if out.suffix not in SUFFIXES:
            raise UserError(f"--out {out}: --as {form} is written to a file that ends in {' or '.join(SUFFIXES)}")
        return
    wanted = subset_suffix(PoolConfig(path=pool["path"]))
    if out.suffix != wanted:
        raise UserError(
            f"--out {out}: a subset is written in the pool's own format; name a file that ends in {wanted}, or write "
            "another format with --as"
        )
