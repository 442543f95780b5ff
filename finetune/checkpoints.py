"""Where a killed training goes on: the newest complete checkpoint, and a log that ends at its step.

Reads and prunes `checkpoints/` and metrics.jsonl in the artifact folder.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

STATE_FILE = "trainer_state.json"
PREFIX = "checkpoint-"


def newest_complete(checkpoints: Path) -> Path | None:
    """The checkpoint to go on from; half-written ones are removed.

    The trainer writes its state file last, so a checkpoint whose state does not parse was cut off.
    """
    complete: dict[int, Path] = {}
    for folder in checkpoints.glob(f"{PREFIX}*"):
        try:
            complete[json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["global_step"]] = folder
        except (FileNotFoundError, json.JSONDecodeError):
            shutil.rmtree(folder)
    return complete[max(complete)] if complete else None


def read_state(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / STATE_FILE))


def drop_metrics_after(path: Path, step: int) -> None:
    """Cut a metrics.jsonl back to `step`; a last line that was cut off goes too."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    os.replace(partial, path)


def _step_of(line: str) -> float:
    try:
        return json.loads(line).get("step", 0)
    except json.JSONDecodeError:
        return float("inf")


class NoCheckpointAtTheEnd(TrainerCallback):
    """The trainer would write optimizer states after the last step, only for them to be deleted."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_save = False
        return control
