"""The commands that grade without generating: `selectit grade`, and `--regrade` of `selectit evaluate`.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from selectit import yaml_text
from selectit.cli.consoles import Quiet, Verbose, console
from selectit.cli.single_stage import (
    FILES,
    BenchmarkData,
    Benchmarks,
    CometPython,
    Judge,
    Profile,
    Sandbox,
    options_of,
    run_stages,
)
from selectit.errors import UserError
from selectit.store.names import ITEMS_FILE, MANIFEST, RESULT_FILE, RESULTS_FILE

grade_app = typer.Typer()


@grade_app.command(rich_help_panel=FILES)
def grade(
    context: typer.Context,
    answers: Annotated[Path, typer.Option(help="Lines of JSON: benchmark, task, doc_id, answer.")],
    out: Annotated[Path, typer.Option(help="Folder for results.json and every item.")],
    profile: Profile = "paper-2023",
    data: BenchmarkData = "hub",
    benchmarks: Benchmarks = None,
    judge: Judge = None,
    sandbox: Sandbox = "bwrap",
    comet_python: CometPython = None,
    generator: Annotated[str, typer.Option(help="Whose answers they are, in files for other graders.")] = "",
    wandb: Annotated[bool, typer.Option(help="Log to W&B.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score answers that are there already, and generate none."""
    from selectit.config import EvaluateConfig, GradingFields
    from selectit.evaluate.profile import load_profile
    from selectit.recipe.validate import check_benchmarks
    from selectit.store.outputs import check_outputs, evaluation_folder

    read: dict[str, list[str | Path | None]] = {"--answers": [answers], "--data": [data], "--profile": [profile]}
    check_outputs(read, evaluation_folder("--out", out))
    if not answers.is_file():
        raise UserError(f"--answers {answers}: {'that is a folder' if answers.is_dir() else 'there is no such file'}")
    chosen = tuple(name.strip() for name in benchmarks.split(",")) if benchmarks else None
    settings = load_profile(profile)
    asked = EvaluateConfig(profile=profile, data=data, benchmarks=chosen)
    if faults := check_benchmarks(asked, settings):
        raise UserError("\n".join(faults))
    fields = {**options_of(context, GradingFields), "judge": judge_setting(judge)}
    fields |= {"profile": settings.name, "answers": str(answers), "generator": generator or answers.stem}
    stages = {
        name: _stage(benchmark=benchmark, **fields)
        for name, benchmark in settings.benchmarks.items()
        if chosen is None or name in chosen
    }
    report(stages, run_stages(list(stages.values()), out, wandb, quiet=quiet, verbose=verbose), out)


def regrade(
    artifact: Path,
    out: Path,
    given: dict[str, Any],
    wandb: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Args:   artifact: the folder of one evaluation, or one that holds several.
            given: fields of `GradingFields` in place of those of the evaluation.
    Raises: UserError where there is none or one was changed, or where `out` is where the old ones are or among them.
    """
    from selectit.config import GradingFields
    from selectit.evaluate.benchmarks.registry import benchmarks
    from selectit.evaluate.given_answers import check_unchanged, kept_notes
    from selectit.evaluate.stage import LOWERED
    from selectit.store.outputs import check_outputs, evaluation_folder

    paths = [artifact / MANIFEST] if (artifact / MANIFEST).is_file() else sorted(artifact.rglob(MANIFEST))
    if paths:
        check_outputs({"--regrade": [artifact]}, evaluation_folder("--out", out))
    stages = {}
    for folder in (path.parent for path in paths):
        manifest = _manifest(folder)
        if manifest["kind"] not in ("evaluate", "grade"):
            continue
        kept = manifest["config"]
        benchmark = kept["benchmark"]["name"]
        if benchmark in stages:
            raise UserError(f"{artifact} holds several evaluations of {benchmark}; name the folder of one of them")
        check_unchanged(folder)
        fields = {name: kept[name] for name in ("benchmark", "profile", *GradingFields.model_fields)}
        fields |= {"answers": str(folder / ITEMS_FILE), "kept_notes": kept_notes(folder, LOWERED)}
        fields |= {"generator": kept.get("generator") or _generator(manifest)}
        stages[benchmark] = _stage(**{**fields, **given})
    if not stages:
        raise UserError(
            f"--regrade {artifact}: no finished evaluation there; name the folder of one "
            "(runs/artifacts/evaluate-...), or the --out of an earlier `selectit evaluate`"
        )
    names = [*benchmarks(), *stages]
    stages = dict(sorted(stages.items(), key=lambda one: names.index(one[0])))
    report(stages, run_stages(list(stages.values()), out, wandb, quiet=quiet, verbose=verbose), out)


def _manifest(folder: Path) -> dict[str, Any]:
    """Raises: UserError where it cannot be read, or the answers next to it are missing."""
    from selectit.store.artifact import read_manifest

    found = read_manifest(folder)
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict) or "kind" not in found:
        raise UserError(f"--regrade: {folder / MANIFEST} cannot be read; it was changed or damaged. Evaluate again")
    if found["kind"] in ("evaluate", "grade"):
        for name in (ITEMS_FILE, RESULT_FILE):
            if not (folder / name).is_file():
                raise UserError(f"--regrade: {folder} has no {name}; the folder is damaged. Evaluate again")
    return found


def _generator(manifest: dict[str, Any]) -> str:
    tuned = manifest["inputs"] or manifest["config"]["adapter"]
    return Path(manifest["config"]["model"]["path"]).name + (" (fine-tuned)" if tuned else "")


def _stage(**fields: Any) -> Any:
    from pydantic import ValidationError

    from selectit.config import BenchmarkConfig
    from selectit.evaluate.benchmarks.registry import is_judged
    from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
    from selectit.evaluate.grading.graders import grader_of
    from selectit.evaluate.stage_config import GradeStage
    from selectit.plan.graph import Stage

    kept = fields["benchmark"]
    if isinstance(kept, NamedTaskConfig) or "task" in dict(kept):
        name = dict(kept)["name"]
        raise UserError(
            f"{name} is a task of lm-eval, which scores answers as they are generated; evaluate the model again "
            "(selectit evaluate), and leave this one out here (--benchmarks, or another folder for --regrade)"
        )
    benchmark = BenchmarkConfig.model_validate(kept)
    judge = fields["judge"] if is_judged(benchmark.name) else None
    grader = grader_of(benchmark)
    named = "judge" if grader is None else f"{grader['name']} {grader['version']}"
    try:
        config = GradeStage(**{**fields, "benchmark": benchmark, "judge": judge, "grader": named})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (found {first['input']!r})") from error
    return Stage("grade", config)


def report(stages: dict[str, Any], outcomes: dict[Any, Any], out: Path) -> None:
    """Write results.json and print its table.

    Args:   stages: by benchmark.
    Raises: typer.Exit where a stage failed.
    """
    from selectit.plan.lone_stages import results_of

    results = results_of(stages, outcomes)
    path = out / RESULTS_FILE
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = Table(box=None, pad_edge=False)
    for column in ("benchmark", "metric", "value", "standard error", "items"):
        table.add_column(column, overflow="fold")
    for name, metrics in results.items():
        for metric, found in metrics.items():
            if metric == "not_scored":
                table.add_row(name, "", found, "", "")
            else:
                error = "" if found["stderr"] is None else f"{found['stderr']:.4f}"
                table.add_row(name, metric, f"{found['value']:.4f}", error, str(found["num_items"]))
    console.print(table)
    console.print(f"results: {path}", highlight=False, soft_wrap=True)
    if any(outcome.failed for outcome in outcomes.values()):
        raise typer.Exit(1)


def judge_setting(setting: str | None) -> Any:
    """`hf:<model>` is text; what stands in braces is a mapping, written as in a recipe."""
    if setting is None or not setting.lstrip().startswith("{"):
        return setting
    return yaml_text.parse(setting, "--judge")
