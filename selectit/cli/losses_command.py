"""The command `selectit losses`: the loss of every response of a file, given its instruction or alone.

Start-up imports nothing heavy; the command imports what it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selectit.cli.consoles import Quiet, Verbose, console
from selectit.cli.pool_options import input_paths, with_pool_options
from selectit.cli.single_stage import FILES, PoolFile, judge_verification, options_of, run_alone
from selectit.errors import UserError, did_you_mean
from selectit.store.names import LEDGER

losses_app = typer.Typer()


@losses_app.command(rich_help_panel=FILES)
@with_pool_options
def losses(
    context: typer.Context,
    pool: PoolFile,
    model: Annotated[str, typer.Option(help="Model folder or hub id.")],
    out: Annotated[Path, typer.Option(help="Folder for ledger.parquet and losses.json.")],
    text: Annotated[str, typer.Option(help="conditioned, marker or bare.")] = "conditioned",
    template: Annotated[str, typer.Option(help="alpaca, llmzoo, chat or plain.")] = "alpaca",
    max_length: Annotated[int | None, typer.Option(help="Tokens of a row at most.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    num_processes: Annotated[int | None, typer.Option(help="Default: one per GPU, on CPU by cores and pool.")] = None,
    launcher: Annotated[str, typer.Option(help="external: you start the processes, on one node or many.")] = "none",
    verify: Annotated[int, typer.Option(min=0, help="Rows to take again, one by one in float32, and compare.")] = 0,
    quantization: Annotated[str, typer.Option(help="Weights of the model: none, 8bit or 4bit.")] = "none",
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="--verify: loss difference beyond which it fails; default: 0.001, 0.05 in half."),
    ] = None,
    wandb: Annotated[bool, typer.Option(help="Log to W&B.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take the loss of every response of a pool."""
    from selectit.config import ReadingFields
    from selectit.plan import stages as planning
    from selectit.plan.graph import LOSS_TEXTS
    from selectit.recipe.load import resolve_arm
    from selectit.store.outputs import POOL, check_outputs, stage_folder

    if tolerance is not None and not verify:
        raise UserError("--tolerance belongs to --verify, such as --verify 50")
    check_outputs(
        {POOL: input_paths(pool), "--model": [model], "--template": [template]}, stage_folder("--out", out, "losses")
    )
    if text not in LOSS_TEXTS:
        raise UserError(f"--text {text}: allowed are {', '.join(LOSS_TEXTS)}.{did_you_mean(text, list(LOSS_TEXTS))}")
    select = {"strategy": "perplexity"} if text == "conditioned" else {"strategy": "ifd", "unconditioned": text}
    arm = resolve_arm(
        {
            "pool": pool,
            "model": {"path": model, "dtype": dtype},
            "score": options_of(context, ReadingFields),
            "select": {**select, "template": template},
        }
    )
    stage = planning.loss_stages(arm)["conditioned" if text == "conditioned" else "unconditioned"]
    folder = run_alone(stage, out / ".runs", wandb, placed={"losses": out}, quiet=quiet, verbose=verbose)
    console.print(f"ledger: {folder / LEDGER}", highlight=False, soft_wrap=True)
    if verify:
        _verify(stage.config, folder, verify, tolerance)


def _verify(config: Any, folder: Path, num_rows: int, tolerance: float | None) -> None:
    from selectit.scoring.loss_verify import verify_losses
    from selectit.tracking import Tracker

    result = verify_losses(config, folder, num_rows, Tracker(folder, console), tolerance)
    judge_verification(folder, result, "losses of responses", result["max_response_loss_difference"], "highest")
