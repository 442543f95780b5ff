"""Running a plan: each stage once, when its inputs are there, its failure confined to the rows that need it.

Writes artifact folders through the store; yields what became of every stage. Where a ready stage runs is its
executor's business.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from selectit.artifact import ERROR, Store
from selectit.execution import Outcome, Session
from selectit.executors.here import Here
from selectit.executors.task import Executor, Task
from selectit.graph import Plan, Stage
from selectit.preflight import preflight
from selectit.states import State, inspect, state
from selectit.tracking import Tracker, wandb_run


def run_plan(plan: Plan, session: Session, executor: Executor | None = None) -> dict[Stage, Outcome]:
    """Run what is not done.

    Args:   executor: where; None: here, one stage after the other.
    Raises: UserError listing everything that preflight found, before any stage runs.
    """
    session.store.prepare()
    states = inspect(plan, session.store)
    pending = [stage for stage in plan.stages if states[stage].status != "done"]
    preflight(pending, states, session.store.runs_dir)
    executor = executor or Here(session)
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
            task = Task(stage, states[stage], inputs, title, session.store.runs_dir, session.wandb, session.group)
            executor.start(task)
            num_running += 1
        if num_running:
            for stage, outcome in executor.wait():
                outcomes[stage], num_running = outcome, num_running - 1
                if outcome.artifact is not None:
                    now = states[stage]
                    states[stage] = State("done", "", now.identity, now.fingerprint, outcome.artifact)
    return {stage: outcomes[stage] for stage in plan.stages}


def _settled(
    stage: Stage, plan: Plan, session: Session, states: dict[Stage, State], outcomes: Mapping[Stage, Outcome]
) -> Outcome | None:
    """What is known of a ready stage without running it; None: it has to be run."""
    if (hole := _hole(stage, outcomes)) is not None:
        return hole
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
        elif (hole := _hole(stage, outcomes)) is not None:
            outcomes[stage] = hole
        elif error is not None and error.is_file():
            outcomes[stage] = Outcome(None, reason=error.read_text().strip().splitlines()[-1], failed=True)
        else:
            outcomes[stage] = Outcome(None, reason="waiting for selectit run")
    return outcomes


def _hole(stage: Stage, outcomes: Mapping[Stage, Outcome]) -> Outcome | None:
    """What the first input without an artifact leaves for this stage."""
    for _, other in stage.inputs:
        if outcomes[other].artifact is None:
            return Outcome(None, reason=outcomes[other].reason, failed=outcomes[other].failed)
    return None


def log_report(folder: Path, session: Session) -> None:
    """The finished table and its page as one W&B run of the recipe's group."""
    from selectit.report.write import FILES

    with wandb_run(
        directory=session.store.runs_dir / "wandb",
        project=session.wandb.project,
        entity=session.wandb.entity,
        group=session.group,
        job_type="report",
        name=f"report {session.group}",
        config={},
    ) as run:
        tracker = Tracker(folder, session.console, run)
        with (folder / "results.csv").open(encoding="utf-8", newline="") as f:
            columns, *rows = csv.reader(f)
        tracker.table("results", columns, rows)
        tracker.artifact(f"report-{session.group}", "report", *(folder / name for name in FILES))
