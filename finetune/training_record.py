"""training.json: what a finished training read and reached. Written last, it names the weights that are whole."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch

from selectit.data.whole_files import write_whole
from selectit.finetune.dataset import TrainingSet
from selectit.finetune.rows import TrainingRows
from selectit.finetune.run_file import TrainingRun
from selectit.finetune.trainer import ResponseTrainer
from selectit.finetune.validation import has_stopped, validation_losses
from selectit.store.artifact import loaded_files
from selectit.store.names import TRAINING_FILE
from selectit.templates import template_name


def weight_sizes(run: TrainingRun) -> dict[str, int]:
    """Name and size of the files in the trained weights' folder that later stages read."""
    return {str(path.relative_to(run.weights)): path.stat().st_size for path in loaded_files(run.weights)}


def write_training_record(
    run: TrainingRun,
    training_set: TrainingSet,
    validation: TrainingSet | None,
    rows: TrainingRows,
    trainer: ResponseTrainer,
    dtype: torch.dtype,
    num_trained_tokens: int,
    share: float,
) -> None:
    """training.json, renamed into place last: where it stands, training is over and the weights are whole."""
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    tail = steps[-max(1, round(len(steps) / 10)) :]  # the last 10 %
    record: dict[str, Any] = {
        "num_rows": len(training_set.rows),
        "num_tokens": training_set.num_tokens,
        "num_trained_tokens": training_set.num_trained_tokens,
        "num_tokens_seen": steps[-1]["tokens"],
        "num_trained_tokens_seen": num_trained_tokens,
        "num_truncated": training_set.num_truncated,
        "num_replayed": rows.num_replayed,
        "num_validation_rows": len(validation.rows) if validation else 0,
        "num_validation_tokens": validation.num_trained_tokens if validation else 0,
        "num_also_in_validation": rows.num_also_in_validation,
        "validation": [
            {"step": step, "epoch": epoch, "loss": loss}
            for step, epoch, loss in validation_losses(trainer.state.log_history)
        ],
        "stopped_early": has_stopped(trainer.state.log_history, run.stage.finetune),
        "num_steps": trainer.state.global_step,
        "num_epochs": trainer.state.epoch,
        "final_loss": steps[-1]["loss"],
        "tail_loss": sum(entry["loss"] for entry in tail) / len(tail),
        "seconds": steps[-1]["seconds"],
        "tokens_per_second": steps[-1]["tokens"] / steps[-1]["seconds"],
        "peak_memory_mb": max(entry["peak_memory_mb"] for entry in steps),
        "num_processes": run.stage.finetune.num_processes,
        "num_trainable_parameters": trainer.get_num_trainable_parameters(),
        "changed_share": share,
        "dtype": str(dtype).removeprefix("torch."),
        "method": run.stage.finetune.method,
        "template": template_name(run.stage.finetune.template),
        "left_out": [dataclasses.asdict(row) for row in training_set.left_out],
        "control_tokens": dict(training_set.control_tokens),
        "deepspeed": run.stage.finetune.deepspeed,
        "weights": weight_sizes(run),
    }
    write_whole(run.out / TRAINING_FILE, json.dumps(record, indent=2) + "\n")
