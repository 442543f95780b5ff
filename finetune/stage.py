"""The finetune stage: one model trained on one subset.

Reads the subset's messages.jsonl; writes train_config.json, and by `selectit.finetune.train`, in this process or
in others, adapter/ or model/, metrics.jsonl and training.json. Resumes where a killed run was.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from selectit.config import FinetuneStage
from selectit.errors import NotRun, Preempted
from selectit.finetune.arguments import check_adapter
from selectit.finetune.launch import check_machine, external_command, launch
from selectit.finetune.memory import check_memory, room_at_all
from selectit.finetune.preemption import StopRequest
from selectit.finetune.reporting import check_report_to
from selectit.finetune.rows import check_pools
from selectit.finetune.run_file import TrainingRun, write_run
from selectit.finetune.train import train
from selectit.finetune.training_record import weight_sizes
from selectit.inference.load import load_skeleton, load_tokenizer
from selectit.store.names import MESSAGES_FILE, TRAINING_FILE
from selectit.store.trained_on import identify_base
from selectit.templates.form import load_form
from selectit.tracking import Tracker


def preflight(config: FinetuneStage) -> None:
    """Raises: UserError for a model without a tokenizer, a template that it cannot be trained in,
    processes that this machine cannot start, weights, gradients and optimizer that it cannot hold, pools of
    `validation` and `replay` that cannot be read, and an adapter of another base.
    """
    check_report_to(config.finetune.report_to)
    check_machine(config.finetune)
    if config.finetune.launcher != "external":
        check_memory(config, room_at_all(config.finetune))
    load_form(config.finetune.template, load_tokenizer(config.model))
    check_pools(config.finetune)
    if config.finetune.adapter is not None:
        check_adapter(config, load_skeleton(config.model))


def run(config: FinetuneStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, float]:
    """Fine-tune on `inputs["subset"]`.

    Returns: the numbers of training.json.
    Raises:  UserError, see `selectit.finetune.train.train`; RuntimeError, see `selectit.finetune.launch.launch`;
        NotRun where training is started by hand and is not over; Preempted after SIGTERM or Ctrl-C.
    """
    finetune = config.finetune
    assert finetune.method != "none", "an arm without training has no finetune stage"
    messages = (Path(inputs["subset"]) / MESSAGES_FILE).resolve()
    training = TrainingRun(stage=config, messages=messages, out=out.resolve(), base=identify_base(config.model))
    run_file = write_run(training)
    record = out / TRAINING_FILE
    if not _is_over(training):
        record.unlink(missing_ok=True)
        if finetune.launcher == "external":
            raise NotRun(
                f"finetune.launcher is external: start its {finetune.num_processes} processes with "
                f"`{external_command(run_file, finetune.num_processes)}` on each node, and run this command again "
                "when they are done"
            )
        _train(training, run_file, tracker)
    shutil.rmtree(training.checkpoints, ignore_errors=True)
    numbers = json.loads(record.read_text(encoding="utf-8"))
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}


def _is_over(training: TrainingRun) -> bool:
    """Whether the weights are as they were when training.json was written, last of all; damaged ones are not."""
    record = training.out / TRAINING_FILE
    return record.exists() and json.loads(record.read_text(encoding="utf-8"))["weights"] == weight_sizes(training)


def _train(training: TrainingRun, run_file: Path, tracker: Tracker) -> None:
    stop = StopRequest()
    try:
        with stop.listening():
            if training.stage.finetune.launcher == "none":
                train(training, tracker, stop)
            else:
                launch(training, run_file, tracker, stop)
    finally:
        gc.collect()  # trainer, model and optimizer refer to each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if stop.is_made:
        raise Preempted("stopped after the last training step; the same command resumes from here", stop.exit_code)
