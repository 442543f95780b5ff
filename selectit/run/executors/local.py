"""Stages in this process, one after the other; a loaded model is kept between stages of one kind."""

from __future__ import annotations

from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.run.executors.base import StageTask
from selectit.run.stage_runner import Session, execute, module_of, release


class Here:
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
