"""What the trainer says while it runs: one metrics line per optimiser step and one progress bar.

Writes through the stage's Tracker, from the first process only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selectit.tracking import Tracker

LOGGED = ("loss", "learning_rate", "grad_norm", "epoch")


class TrackerCallback(TrainerCallback):
    """Args: tracker; stack: closes the progress bar, also where training raises."""

    def __init__(self, tracker: Tracker, stack: ExitStack) -> None:
        self._tracker, self._stack = tracker, stack
        self._advance: Callable[[int], None] = lambda _: None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._advance = self._stack.enter_context(self._tracker.progress("fine-tune", state.max_steps))
            self._advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._advance(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            self._tracker.log({f"train/{name}": logs[name] for name in LOGGED}, step=state.global_step)
