"""SIGTERM or Ctrl-C during training: every process finishes its step, a checkpoint is saved, and the run can resume.

Under a launcher the stage passes the request on through a file: launchers kill their processes at a signal.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selectit.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED
from selectit.finetune.processes import highest

FIRST_INTERRUPT = "\nfinishing the training step, then saving; Ctrl-C again stops at once\n"


class StopRequest:
    """Args: file: asks to stop by being there; None: only a signal does."""

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._signal = file, 0
        self._before: dict[int, Any] = {}

    @property
    def is_made(self) -> bool:
        return self._signal != 0 or (self._file is not None and self._file.exists())

    @property
    def exit_code(self) -> int:
        return EXIT_INTERRUPTED if self._signal == signal.SIGINT else EXIT_PREEMPTED

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C make the request, and nothing else, until the end of the block."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, signum: int, frame: Any) -> None:
        if signum == signal.SIGINT:
            if self._signal == signal.SIGINT and callable(before := self._before[signum]):
                before(signum, frame)
            os.write(2, FIRST_INTERRUPT.encode())  # print is not safe in a handler: it may interrupt another print
        self._signal = signum


class StopAfterStep(TrainerCallback):
    """Ends training after a step in which any process was asked to stop, with a checkpoint."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if highest(self._stop.is_made) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
        return control
