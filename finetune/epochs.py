"""What happens when an epoch ends: the validation loss, the weights that stay, and whether training stops early.

The weights of epoch 2 lie in epochs/2/adapter (or model). With early stopping the best ones lie in checkpoints/best
until they become the result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selectit.data.whole_files import part_of
from selectit.finetune.processes import rank, wait_for_all
from selectit.finetune.run_file import TrainingRun
from selectit.finetune.validation import best, has_stopped, validation_losses
from selectit.finetune.weights import put_in_place, save_weights
from selectit.store.names import EPOCHS_FOLDER

BEST = "best"


class EpochEnds(TrainerCallback):
    """Args:
    steps_per_epoch: optimiser steps.
    dtype: of saved models; None: of adapters, as they are.
    describe: adds to a folder of weights what stands next to them.
    """

    def __init__(
        self, run: TrainingRun, steps_per_epoch: int, dtype: torch.dtype | None, describe: Callable[[Path], None]
    ) -> None:
        self._run, self._steps, self._dtype, self._describe = run, steps_per_epoch, dtype, describe
        self.trainer: Any = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        stage = self._run.stage
        epoch, rest = divmod(state.global_step, self._steps)
        if stage.finetune.validation is not None and (rest == 0 or state.global_step >= state.max_steps):
            control.should_evaluate = True
        if stage.keep_epochs and rest == 0 and epoch in stage.epochs:
            self._save(self._run.out / EPOCHS_FOLDER / str(epoch) / self._run.weights.name)
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self._run.stage.finetune.early_stopping is None:
            return control
        losses = validation_losses(state.log_history)
        if losses[-1] == best(losses):
            self._save(self._run.checkpoints / BEST)
        if has_stopped(state.log_history, self._run.stage.finetune):
            control.should_training_stop = control.should_save = True
        return control

    def _save(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_weights(self.trainer, folder, None)
        if rank() == 0:
            if self._dtype is not None:
                convert(folder, self._dtype)
            self._describe(folder)
        wait_for_all()


def take_best(run: TrainingRun) -> None:
    """Put the best weights where the result belongs; the first process alone."""
    part = part_of(run.weights)
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(run.checkpoints / BEST, part)
    put_in_place(part, run.weights)


def convert(folder: Path, dtype: torch.dtype) -> None:
    """The saved weights in another number type, one file at a time."""
    for path in folder.glob("*.safetensors"):
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), "dtype": str(dtype).removeprefix("torch.")}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
