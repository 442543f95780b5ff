"""Running a plan: each stage once, when its inputs are there, its failure confined to the rows that need it.

Writes artifact folders through the store; yields what became of every stage. A ready stage runs in this process, or
where another executor (selectit/run/executors) puts it.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from selectit.config import RecipeConfig
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import SEEDS_OF, Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.plan.status import State, inspect, state
from selectit.recipe.rows import trains
from selectit.run.executors.base import Executor, StageTask
from selectit.run.preflight import preflight
from selectit.run.stage_runner import Session, execute, module_of, release
from selectit.store.names import ERROR, REPORT_FILES, REPORT_PAGE, RESULTS_CSV
from selectit.store.runs_folder import Store
from selectit.tracking import Tracker, wandb_run

if TYPE_CHECKING:
    from selectit.report.write import Report

PLOT = re.compile(r'<h3>([^<]*)</h3>\s*<div class="plot"[^>]*>(<svg.*?</svg>)', re.DOTALL)
"""In report.html: title and drawing of a plot."""
PLOT_COLOURS = ":root { --plot-blue: #0072b2; background: #fff; color: #222 }"


def run_plan(plan: Plan, session: Session, executor: Executor | None = None) -> dict[Stage, Outcome]:
    """Run what is not done.

    Args:   executor: where; None: in this process, one stage after the other.
    Raises: UserError listing everything that preflight found, before any stage runs.
    """
    session.store.prepare()
    states = inspect(plan, session.store)
    pending = [stage for stage in plan.stages if states[stage].status != "done"]
    preflight(pending, states, session.store.runs_dir)
    executor = executor or InThisProcess(session)
    try:
        return _run(plan, session, executor, states, {stage: number for number, stage in enumerate(pending, start=1)})
    finally:
        executor.close()


def _run(
    plan: Plan, session: Session, executor: Executor, states: dict[Stage, State], numbers: Mapping[Stage, int]
) -> dict[Stage, Outcome]:
    """Args: numbers: of the stages that are not done, from 1."""
    outcomes: dict[Stage, Outcome] = {}
    waiting, num_running = dict.fromkeys(plan.stages), 0
    while waiting or num_running:
        for stage in list(waiting):  # in the plan's order, so that a stage settled here settles those that read it
            if any(other not in outcomes for _, other in stage.inputs):
                continue
            outcome = _settled(stage, plan, session, states, outcomes)
            if outcome is None and not executor.has_room:
                break
            del waiting[stage]
            if outcome is not None:
                outcomes[stage] = outcome
                continue
            inputs = {name: artifact for name, other in stage.inputs if (artifact := outcomes[other].artifact)}
            title = f"[{numbers[stage]}/{len(numbers)}] {plan.title(stage)}"
            task = StageTask(
                stage,
                states[stage],
                inputs,
                title,
                session.store.runs_dir,
                session.wandb,
                session.group,
                labels(plan, stage),
            )
            executor.start(task)
            num_running += 1
        if num_running:
            for stage, outcome in executor.wait():
                outcomes[stage], num_running = outcome, num_running - 1
                if outcome.artifact is not None:
                    now = states[stage]
                    states[stage] = State("done", "", now.identity, now.fingerprint, outcome.artifact)
    return {stage: outcomes[stage] for stage in plan.stages}


class InThisProcess:
    """The executor of stages one after the other; a loaded model is kept between stages of one kind."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._previous: Stage | None = None
        self._ended: list[tuple[Stage, Outcome]] = []

    @property
    def has_room(self) -> bool:
        return not self._ended

    def start(self, task: StageTask) -> None:
        if self._previous is not None and module_of(self._previous) is not module_of(task.stage):
            release(self._previous)
        self._previous = task.stage
        self._ended.append(
            (task.stage, execute(task.stage, task.now, task.inputs, task.title, self._session, task.labels))
        )

    def wait(self) -> list[tuple[Stage, Outcome]]:
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        if self._previous is not None:
            release(self._previous)


def _settled(
    stage: Stage, plan: Plan, session: Session, states: dict[Stage, State], outcomes: Mapping[Stage, Outcome]
) -> Outcome | None:
    """What is known of a ready stage without running it; None: it has to be run."""
    if (blocked := _blocked(stage, outcomes)) is not None:
        return blocked
    if states[stage].status != "done":
        states[stage] = state(stage, states, session.store, plan)
    now = states[stage]
    if now.artifact is not None:
        return Outcome(now.artifact)
    if now.status == "blocked":  # what preflight saw has been taken away since
        session.console.print(f"{plan.title(stage)}\n  failed: {now.why}", style="red", highlight=False, soft_wrap=True)
        return Outcome(None, reason=now.why.splitlines()[0], failed=True)
    return None


def found(plan: Plan, store: Store) -> dict[Stage, Outcome]:
    """What is there without running anything: finished artifacts, and for the rest why there is none."""
    outcomes: dict[Stage, Outcome] = {}
    for stage, now in inspect(plan, store).items():
        error = store.folder(stage.kind, now.fingerprint) / ERROR if now.fingerprint else None
        if now.artifact is not None:
            outcomes[stage] = Outcome(now.artifact)
        elif (blocked := _blocked(stage, outcomes)) is not None:
            outcomes[stage] = blocked
        elif error is not None and error.is_file():
            outcomes[stage] = Outcome(None, reason=error.read_text().strip().splitlines()[-1], failed=True)
        else:
            outcomes[stage] = Outcome(None, reason="waiting for selectit run")
    return outcomes


def _blocked(stage: Stage, outcomes: Mapping[Stage, Outcome]) -> Outcome | None:
    """What the first input without an artifact leaves for this stage."""
    for _, other in stage.inputs:
        if outcomes[other].artifact is None:
            return Outcome(None, reason=outcomes[other].reason, failed=outcomes[other].failed)
    return None


def labels(plan: Plan, stage: Stage) -> dict[str, Any]:
    """What a stage's W&B run is filtered and grouped by: the rows it is for, their settings and its seeds.

    A setting in which the rows differ is a list.
    """
    rows = [row for row in plan.rows if stage in row.stages(stage.kind)]
    if not rows:
        return {}
    labels: dict[str, list[Any]] = {"arm": [row.arm for row in rows], "row": [row.label for row in rows]}
    for row in rows:
        for name in ("strategy", "ratio", "level"):
            if trains(row.config.finetune) and (value := getattr(row.config.select, name, None)) is not None:
                labels.setdefault(name, []).append(value)
        labels.setdefault("method", []).append(row.config.finetune.method)
        labels.setdefault("model", []).append(row.config.model.path)
        labels.setdefault("pool", []).append(row.config.pool.path)
    for name in SEEDS_OF.get(stage.kind.split("-")[0], ()):
        labels[f"{name}_seed"] = [
            getattr(cell, f"{name}_seed") for row in rows for cell in row.cells if stage in cell.chain
        ]
    if isinstance(stage.config, EvaluateStage):
        labels["benchmark"] = [stage.config.benchmark.name]
    distinct = {name: list(dict.fromkeys(values)) for name, values in labels.items()}
    return {name: values[0] if len(values) == 1 else values for name, values in distinct.items() if values}


def log_report(report: Report, session: Session, config: RecipeConfig) -> None:
    """The finished table, its plots and its page as one W&B run of the recipe, which a later report continues."""

    folder = report.folder
    with wandb_run(
        directory=session.store.runs_dir / "wandb",
        project=session.wandb.project,
        entity=session.wandb.entity,
        group=session.group,
        job_type="report",
        name=f"report {session.group}",
        config={"recipe": config.model_dump(mode="json")},
        run_id=f"report-{session.group}",
    ) as run:
        tracker = Tracker(folder, session.console, run)
        with (folder / RESULTS_CSV).open(encoding="utf-8", newline="") as f:
            columns, *rows = csv.reader(f)
        tracker.table("results", columns, rows)
        table = report.table
        names = (*table.benchmarks, "average")
        lines = [(line.label, (*line.entries, line.average)) for line in table.lines]
        tracker.table("table", ["row", *names], [[label, *(e.text for e in entries)] for label, entries in lines])
        means = [
            (f"{name}/{label}", e.mean) for label, entries in lines for name, e in zip(names, entries, strict=True)
        ]
        tracker.summary({key: mean for key, mean in means if mean is not None})
        page = (folder / REPORT_PAGE).read_text(encoding="utf-8")
        for title, plot in PLOT.findall(page):
            tracker.page(f"plots/{html.unescape(title)}", f"<style>{PLOT_COLOURS}</style>{plot}")
        tracker.page("report", page)
        tracker.artifact(f"report-{session.group}", "report", *(folder / name for name in REPORT_FILES))
