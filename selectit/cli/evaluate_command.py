"""The command `selectit evaluate`: a model, or a model with an adapter, on the benchmarks; or what they ask.

Start-up imports nothing heavy; the command imports what it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selectit.cli.consoles import Quiet, Verbose
from selectit.cli.grade_command import judge_setting, regrade, report
from selectit.cli.single_stage import (
    FILES,
    BenchmarkData,
    Benchmarks,
    CometPython,
    Judge,
    Profile,
    Sandbox,
    check_revision,
    options_of,
    run_stages,
)
from selectit.errors import UserError
from selectit.store.names import ADAPTER_CONFIG, ADAPTER_FOLDER

evaluate_app = typer.Typer()


@evaluate_app.command(rich_help_panel=FILES)
def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="Model folder or hub id; default: the base that --adapter names.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and every item.")] = None,
    adapter: Annotated[str | None, typer.Option(help="PEFT adapter on top of the model.")] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of a hub model; default: the adapter's base's, or main.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    profile: Profile = "paper-2023",
    data: BenchmarkData = "hub",
    benchmarks: Benchmarks = None,
    limit: Annotated[int | None, typer.Option(help="At most this many items per task.")] = None,
    judge: Judge = None,
    template: Annotated[str, typer.Option(help="Chat-format benchmarks: alpaca, llmzoo or chat.")] = "alpaca",
    sandbox: Sandbox = "bwrap",
    comet_python: CometPython = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a forward pass at most; default: what fits.")] = None,
    num_processes: Annotated[int | None, typer.Option(help="Default: one per GPU, on CPU one per core.")] = None,
    backend: Annotated[str, typer.Option(help="transformers or vllm.")] = "transformers",
    vllm_python: Annotated[str | None, typer.Option(help="A Python with vLLM; default: this one.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of sampled completions.")] = 42,
    show: Annotated[str | None, typer.Option(help="Only print what these benchmarks ask; 'all' for all.")] = None,
    items: Annotated[str, typer.Option(help="With --show: how many items of each, or 'all'.")] = "1",
    regrade_: Annotated[
        Path | None,
        typer.Option("--regrade", help="Grade the answers of an earlier evaluation again; nothing is generated."),
    ] = None,
    wandb: Annotated[bool, typer.Option(help="Log to W&B.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a model, or a model with an adapter, on the benchmarks; or show what they ask."""
    from selectit.config import EvaluateConfig, location_mark
    from selectit.plan.lone_stages import NO_MODEL, lone_evaluations
    from selectit.store.outputs import Output, check_outputs, evaluation_folder

    if regrade_ is not None:
        given = {"sandbox": sandbox, "comet_python": comet_python, **({"judge": judge_setting(judge)} if judge else {})}
        regrade(regrade_, _check_regrade(context, out), given, wandb, quiet, verbose)
        return
    if show is None and ((model is None and adapter is None) or out is None):
        raise UserError(
            "selectit evaluate needs --model (or --adapter) and --out; --show prints what is asked without either"
        )
    adapter = _adapter(adapter)
    if model is not None:
        check_revision(model, revision)
    if adapter is not None:
        from selectit.store.trained_on import base_of

        base = base_of(adapter, model, revision)
        model, revision = base.path, base.revision
    if out is not None:
        read: dict[str, list[str | None]] = {"--model": [model], "--adapter": [adapter], "--data": [data]}
        of_judge = location_mark(EvaluateConfig.model_fields["judge"])
        assert of_judge is not None
        read |= {"--profile": [profile], "--template": [template], "--judge": [judge and of_judge.strip(judge)]}
        check_outputs(read, evaluation_folder("--out", out) if show is None else Output("--out", out))
    benchmarks = (None if show == "all" else show) if show is not None else benchmarks
    chosen = tuple(name.strip() for name in benchmarks.split(",")) if benchmarks else None
    settings = {**options_of(context, EvaluateConfig), "benchmarks": chosen, "judge": judge_setting(judge)}
    of_model = {"path": model or NO_MODEL, "revision": revision, "dtype": dtype}
    stages = lone_evaluations(of_model, adapter, settings, template, seed)
    if show is not None:
        _show([stage.config for stage in stages.values()], _num_items(items), out)
        return
    assert out is not None
    report(stages, run_stages(list(stages.values()), out, wandb, quiet=quiet, verbose=verbose), out)


def _check_regrade(context: typer.Context, out: Path | None) -> Path:
    """Returns: --out. Raises: UserError without it, and for options that would change nothing."""
    taken = ("regrade_", "out", "judge", "sandbox", "comet_python", "wandb", "quiet", "verbose")
    given = [
        p for p in context.params if p not in taken and str(context.get_parameter_source(p)).endswith("COMMANDLINE")
    ]
    if out is None or given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "no --out"
        raise UserError(
            "--regrade takes the folder of an evaluation, --out, --judge, --sandbox and --comet-python; what was asked "
            f"is kept with the answers (found {names})"
        )
    return out


def _num_items(items: str) -> int | None:
    if items == "all":
        return None
    if not items.isdecimal() or int(items) < 1:
        raise UserError(f"--items {items}: expected a number of 1 or more, or 'all'")
    return int(items)


def _show(stages: list[Any], num_items: int | None, out: Path | None) -> None:
    """Args: num_items: of each first task on the terminal, of each task in the file `out`; None: all."""
    from selectit.evaluate.benchmarks.files import needs_tokenizer
    from selectit.plan.lone_stages import NO_MODEL

    for config in stages:
        if needs_tokenizer(config.benchmark) and config.model.path == NO_MODEL:
            why = (
                "in chat format" if config.benchmark.chat_template else "in prompts that are cut to a number of tokens"
            )
            raise UserError(
                f"{config.benchmark.name} is asked {why}, whose text needs a tokenizer: add --model <folder or hub "
                "id>; its weights are not loaded"
            )
    from selectit.evaluate.show import print_asked, write_asked

    if out is not None:
        typer.echo(f"{write_asked(stages, num_items, out)} items: {out}")
        return
    for config in stages:
        print_asked(config, num_items, typer.echo)


def _adapter(path: str | None) -> str | None:
    if path is None:
        return None
    folder = next((f for f in (Path(path), Path(path) / ADAPTER_FOLDER) if (f / ADAPTER_CONFIG).is_file()), None)
    if folder is None and Path(path).exists():
        raise UserError(f"--adapter {path}: no adapter_config.json there; name the folder that a fine-tuning wrote")
    return str(folder.resolve()) if folder else path
