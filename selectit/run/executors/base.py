"""One stage as it is handed to an executor, and what an executor is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from selectit.config import FinetuneStage, LossStage, ScoreStage, WandbConfig
from selectit.environment import prepare_process
from selectit.errors import EXIT_PREEMPTED, Preempted
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Stage, StageConfig
from selectit.plan.outcome import Outcome
from selectit.plan.status import State
from selectit.run.stage_runner import Session, execute
from selectit.store.artifact import Artifact
from selectit.store.runs_folder import Store

LOG_WIDTH = 160
MOST_RETRIES = 3
"""Of one stage whose process was lost. A stage that raises is a failed stage and is not started again."""


@dataclass(frozen=True)
class StageTask:
    """All that a process elsewhere needs to run a stage, given the same files; can be pickled, and sent twice."""

    stage: Stage
    now: State
    inputs: Mapping[str, Artifact]
    title: str
    runs_dir: Path
    wandb: WandbConfig
    group: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    """What its W&B run records of it, such as arm and seeds."""

    @property
    def log(self) -> Path:
        """What the stage prints where no terminal is attached."""
        return self.runs_dir / "logs" / f"{self.stage.kind}-{(self.now.fingerprint or '')[:16]}.log"


class Executor(Protocol):
    """Where stages run. A stage that raises has a failed outcome; one whose process is lost is started again."""

    @property
    def has_room(self) -> bool:
        """Whether another task may be started before one has ended."""

    def start(self, task: StageTask) -> None: ...

    def wait(self) -> list[tuple[Stage, Outcome]]:
        """The tasks that have ended since the last call, at least one; blocks until there is one."""

    def close(self) -> None: ...


def num_gpus(config: StageConfig) -> int:
    """GPUs that a stage uses where there are any."""
    if isinstance(config, FinetuneStage):
        return config.finetune.num_processes
    if isinstance(config, ScoreStage | LossStage | EvaluateStage):
        return config.num_processes or 1
    return 0


def perform(task: StageTask) -> Outcome:
    """Run a task in a process of its own; what it prints goes to the task's log."""
    prepare_process()
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("a", encoding="utf-8", buffering=1) as log:
        session = Session(Store(task.runs_dir), Console(file=log, width=LOG_WIDTH), task.wandb, task.group)
        try:
            return execute(task.stage, task.now, task.inputs, task.title, session, task.labels)
        except Preempted as stopped:
            session.console.print(str(stopped), highlight=False)
            log.flush()
            os._exit(EXIT_PREEMPTED)  # to the executor a lost process, which it starts again


def print_start(console: Console, task: StageTask) -> None:
    console.print(f"{task.title}: started, log {task.log}", highlight=False, soft_wrap=True)


def print_end(console: Console, task: StageTask, outcome: Outcome) -> None:
    if outcome.artifact is not None:
        ending, style = f"done in {outcome.artifact.manifest['seconds']:.1f} s", "dim"
    else:
        ending, style = (f"failed: {outcome.reason}", "red") if outcome.failed else (f"not run: {outcome.reason}", "")
    console.print(f"{task.title}: {ending}", style=style, highlight=False, soft_wrap=True)
