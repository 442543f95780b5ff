"""SIGTERM during training: every process finishes its step, a checkpoint is saved, and the run can go on.

Under a launcher the stage passes the request on through a file: launchers kill their processes at a signal.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selectit.finetune.processes import highest


class StopRequest:
    """Args: file: asks to stop by being there; None: only a signal does."""

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._signalled = file, False

    @property
    def is_made(self) -> bool:
        return self._signalled or (self._file is not None and self._file.exists())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM makes the request, and nothing else, until the end of the block."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, signum: int, frame: Any) -> None:
        self._signalled = True


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
