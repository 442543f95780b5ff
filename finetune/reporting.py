"""What the trainer reports while it runs: one metrics line per optimiser step and one progress bar.

Writes through the stage's Tracker, from the first process only. Where that process is not the stage's own,
an EventTracker writes events.jsonl, and the stage shows what stands there.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selectit.data.jsonl import append_jsonl, new_lines
from selectit.errors import UserError
from selectit.tracking import Advance, Tracker

LOGGED = ("loss", "learning_rate", "grad_norm", "epoch", "tokens", "tokens_per_second", "peak_memory_mb")


def peak_memory_mb() -> int:
    """Highest memory of this process so far: of its GPU, or resident memory where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


PACKAGES = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",),
            "trackio": ("trackio",)}  # fmt: skip
"""What transformers' callback of each place needs one of."""


def check_report_to(report_to: Sequence[str]) -> None:
    """Raises: UserError for a place whose package is not installed."""
    for name in report_to:
        if not any(find_spec(package) for package in PACKAGES[name]):
            raise UserError(
                f"finetune.report_to: {name} is not installed; pip install {PACKAGES[name][0]}, or remove it from "
                "finetune.report_to"
            )


@contextmanager
def report_folders(report_to: Sequence[str], out: Path) -> Iterator[None]:
    """TensorBoard's and, where no server is named, MLflow's files lie in the stage's own folder."""
    before = dict(os.environ)
    if "tensorboard" in report_to:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    if "mlflow" in report_to:
        os.environ.setdefault("MLFLOW_TRACKING_URI", (out / "mlruns").absolute().as_uri())
    try:
        yield
    finally:
        for name in ("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


class TrackerCallback(TrainerCallback):
    """Args:
    tracker: of the stage.
    stack: closes the progress bar, also where training raises.
    to_file: transformers' own callback logs to W&B.
    """

    def __init__(self, tracker: Tracker, stack: ExitStack, to_file: bool = False) -> None:
        self._tracker, self._stack = tracker, stack
        self._log = tracker.write if to_file else tracker.log
        self._advance: Callable[..., None] = lambda n, **_: None

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
        if not state.is_world_process_zero or not logs:
            return
        if "loss" in logs:
            self._log({f"train/{name}": logs[name] for name in LOGGED}, step=state.global_step)
        if "eval_loss" in logs:
            metrics = {f"validation/{name}": logs[f"eval_{name}"] for name in ("loss", "token_accuracy")}
            self._tracker.log({**metrics, "validation/epoch": state.epoch or 0.0}, step=state.global_step)


class EventTracker(Tracker):
    """A Tracker in a process that has neither terminal nor W&B run: metrics.jsonl, and each event as a JSON line."""

    def __init__(self, out: Path, events: Path) -> None:
        super().__init__(out, Console(file=sys.stdout))
        self._events = events

    def log(self, metrics: Mapping[str, float | int | str], step: int | None = None) -> None:
        super().log(metrics, step)
        self._tell({"metrics": dict(metrics), "step": step})

    def note(self, text: str) -> None:
        super().note(text)
        self._tell({"note": text})

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Advance]:
        self._tell({"progress": description, "total": total})

        def advance(n: int, *, description: str | None = None, detail: str | None = None) -> None:
            self._tell({"advance": n, "description": description, "detail": detail})

        yield advance

    def _tell(self, event: dict[str, Any]) -> None:
        append_jsonl(self._events, [event])


class EventReader:
    """Shows what an EventTracker writes. Args: as for TrackerCallback; events: the file, which may not be there yet."""

    def __init__(self, events: Path, tracker: Tracker, stack: ExitStack) -> None:
        self._events, self._tracker, self._stack = events, tracker, stack
        self._position = 0
        self._advance: Callable[..., None] = lambda n, **_: None

    def show_new(self) -> None:
        events, self._position = new_lines(self._events, self._position)
        for event in events:
            self._show(event)

    def _show(self, event: dict[str, Any]) -> None:
        if "metrics" in event:
            self._tracker.send(event["metrics"], event["step"])
        elif "note" in event:
            self._tracker.note(event["note"])
        elif "progress" in event:
            self._advance = self._stack.enter_context(self._tracker.progress(event["progress"], event["total"]))
        else:
            self._advance(event["advance"], description=event["description"], detail=event["detail"])
