"""`selectit.evaluate_model` and `selectit.run_recipe`: a model on benchmarks, and a whole recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.api.running import FilePath, console, plain, quiet_libraries, run_stages, work_folders
from selectit.api.subsets import Model
from selectit.environment import prepare_process
from selectit.errors import UserError
from selectit.finetune.folders import find_adapter
from selectit.plan.build import build
from selectit.plan.lone_stages import lone_evaluations, results_of
from selectit.recipe.load import load
from selectit.report.plain import of_report
from selectit.report.write import write_report
from selectit.run.engine import log_report, run_plan
from selectit.run.recipe_outputs import check_recipe_outputs
from selectit.run.stage_runner import Session
from selectit.store.names import REPORT_PAGE
from selectit.store.runs_folder import Store
from selectit.store.trained_on import base_of


@dataclass(frozen=True)
class ModelResult:
    """A model on benchmarks."""

    results: dict[str, dict[str, Any]]
    """Benchmark -> metric -> `value` (a fraction, or the metric's own unit), `stderr` and `num_items`."""
    not_scored: dict[str, str]
    """Benchmark -> why it has no result."""


@dataclass(frozen=True)
class RecipeResult:
    """The table of a recipe."""

    rows: list[dict[str, Any]]
    """Each with `row`, `is_baseline` and `cells`: benchmark -> `mean` in percent (None for a missing result), `error`,
    `failed`, `mark` and `text`; `average` is one of them."""
    notes: list[str]
    """Why a result is missing, and what else the table notes."""
    report: Path
    """report.html; next to it the same as Markdown, LaTeX and CSV."""
    num_executed: int
    """Stages that ran now; the others were finished before."""


def evaluate_model(
    model: Model | None = None,
    benchmarks: Sequence[str] | None = None,
    *,
    adapter: FilePath | None = None,
    profile: FilePath = "paper-2023",
    data: FilePath = "hub",
    limit: int | None = None,
    template: str = "alpaca",
    seed: int = 42,
    evaluate: Mapping[str, Any] | None = None,
    runs_dir: FilePath | None = None,
    progress: bool = False,
) -> ModelResult:
    """Score a model, or a model with an adapter, on the benchmarks of a profile.

    Args:
        model: a folder or hub id; default: the base that the adapter names.
        benchmarks: names; default: all of the profile.
        data: `hub`, or a folder with the benchmarks' files.
        limit: at most this many items per task.
        template: of benchmarks that are asked in chat format: alpaca, llmzoo or chat.
        seed: of sampled completions.
        evaluate: further fields of a recipe's section, such as `{"judge": "hf:..."}`.
        runs_dir, progress: as `selectit.select` takes them; `runs_dir` keeps every answer.
    Raises: UserError, a ValueError, for what cannot be used, before anything is asked.
    """
    of_model = plain(model) if isinstance(model, Mapping) else {} if model is None else {"path": plain(model)}
    folder = None if adapter is None else str(adapter)
    if folder is not None and Path(folder).exists():
        folder = str(find_adapter(Path(folder)).resolve())
    if folder is not None:
        base = base_of(folder, of_model.get("path"), of_model.get("revision"))
        of_model = {**of_model, "path": base.path, "revision": base.revision}
    if "path" not in of_model:
        raise UserError("evaluate_model needs a model, or an adapter that names its base: model=<folder or hub id>")
    own = {"profile": profile, "data": data, "limit": limit, "benchmarks": benchmarks}
    settings = plain({"num_processes": 1, **own, **(evaluate or {})})
    stages = lone_evaluations(of_model, folder, settings, template, seed)
    inputs = [of_model["path"], folder or "", str(data)]
    with work_folders(runs_dir) as (runs, _):
        results = results_of(stages, run_stages(list(stages.values()), runs, (), inputs, progress))
    not_scored = {name: metrics.pop("not_scored") for name, metrics in results.items() if "not_scored" in metrics}
    return ModelResult({name: metrics for name, metrics in results.items() if metrics}, not_scored)


def run_recipe(
    recipe: FilePath,
    changes: Mapping[str, Any] | Sequence[str] = (),
    *,
    runs_dir: FilePath = "runs",
    progress: bool = False,
) -> RecipeResult:
    """Run what is missing of a recipe, and write its report.

    Args:
        recipe: a YAML file.
        changes: as `--set` takes them: `["finetune.learning_rate=1e-5"]`, or `{"finetune.learning_rate": 1e-5}`.
        runs_dir: the folder of the finished stages, and of the report.
    Raises: UserError where the recipe has a fault, before anything runs; or where a stage failed, once the rest has
        run and the report is written.
    """
    prepare_process()
    runs = Path(runs_dir)
    if isinstance(changes, Mapping):
        changes = [f"{key}={json.dumps(plain(value))}" for key, value in changes.items()]
    loaded = load(Path(recipe), list(changes))
    check_recipe_outputs(loaded, runs)
    plan = build(loaded)
    session = Session(Store(runs), console(progress), loaded.config.wandb, group=loaded.config.name)
    with quiet_libraries(progress):
        outcomes = run_plan(plan, session)
    report = write_report(plan, outcomes, runs)
    if report.written and loaded.config.wandb.enabled:
        log_report(report, session, loaded.config)
    if failed := list(dict.fromkeys(outcome.reason for outcome in outcomes.values() if outcome.failed)):
        raise UserError(
            f"{len(failed)} of {len(plan.stages)} stages failed: {'; '.join(failed)}. The rest is in "
            f"{report.folder / REPORT_PAGE}; the same call resumes"
        )
    found = of_report(report)
    num_executed = sum(outcome.ran for outcome in outcomes.values())
    return RecipeResult(found["rows"], found["notes"], report.folder / REPORT_PAGE, num_executed)
