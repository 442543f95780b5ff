"""One training run, LoRA or full, from tokenised rows to weights on disk.

Writes adapter/ (lora) or model/ (full) with the tokenizer and its chat template, and checkpoints/, where
it goes on from the newest complete one. LoRA: the base stands in `model.dtype`, the adapter in float32.
Full: the trained weights are float32, autocast computes in `model.dtype`, and they are saved in it.
"""

from __future__ import annotations

import os
import shutil
import warnings
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerState, set_seed
from transformers.utils.logging import disable_progress_bar

from selectit.config import FinetuneStage
from selectit.errors import UserError
from selectit.finetune.arguments import lora_config, sft_config
from selectit.finetune.checkpoints import NoCheckpointAtTheEnd, drop_metrics_after, newest_complete, read_state
from selectit.finetune.dataset import TrainingSet, training_template
from selectit.finetune.reporting import TrackerCallback
from selectit.finetune.trainer import ResponseTrainer
from selectit.models import device, load_model, resolve_dtype
from selectit.tracking import METRICS_FILE, Tracker

CHECKPOINTS_FOLDER = "checkpoints"
WEIGHTS_FOLDER = {"lora": "adapter", "full": "model"}
NUM_CANARY_TOKENS = 64


@dataclass(frozen=True)
class TrainingResult:
    num_steps: int
    num_epochs: float
    final_loss: float
    tail_loss: float
    """Mean over the last 10 % of the steps."""
    seconds: float
    """All optimiser steps, those before a kill included where they were not repeated."""
    tokens_per_second: float
    """Tokens that went through the model, padding left out."""
    num_trainable_parameters: int
    dtype: str

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


def train(
    config: FinetuneStage,
    training_set: TrainingSet,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    tracker: Tracker,
) -> TrainingResult:
    """Train and save.

    Raises: UserError where a loss is not finite, memory runs out, the rows do not fit the model's context,
        or training has changed nothing.
    """
    _quieten_libraries()
    checkpoints, dtype = out / CHECKPOINTS_FOLDER, resolve_dtype(config.model)
    checkpoint = newest_complete(checkpoints)
    done = read_state(checkpoint) if checkpoint else TrainerState()
    drop_metrics_after(out / METRICS_FILE, done.global_step)
    if checkpoint:
        tracker.note(f"fine-tune: going on after step {done.global_step}")

    arguments = sft_config(config, checkpoints)  # before the model: it picks the device and, later, ZeRO-3
    is_lora = config.finetune.method == "lora"
    model = load_model(config.model if is_lora else config.model.model_copy(update={"dtype": "float32"}))
    _refuse_rows_beyond_context(training_set, model)
    tokenizer.chat_template = training_template(config.finetune.template, tokenizer)
    canary_ids = training_set.rows[0].input_ids[:NUM_CANARY_TOKENS]
    logits_before = _logits(model, canary_ids)

    set_seed(config.seed)
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore", FutureWarning)  # PEFT and TRL still use names that transformers 5 renamed
        trainer = ResponseTrainer(
            training_set.rows,
            seconds_before=done.log_history[-1]["seconds"] if checkpoint else 0.0,
            model=model,
            args=arguments,
            processing_class=tokenizer,
            peft_config=lora_config(config.finetune.lora, model) if is_lora else None,
            callbacks=[NoCheckpointAtTheEnd(), TrackerCallback(tracker, stack)],
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU's memory does not hold finetune.micro_batch_size {config.finetune.micro_batch_size} rows of "
                f"up to {config.finetune.max_length} tokens ({str(error).splitlines()[0]}). Lower "
                "finetune.micro_batch_size, set finetune.gradient_checkpointing to true, or use method lora."
            ) from error

    result = _result(trainer, dtype)
    if torch.equal(logits_before, _logits(trainer.model, canary_ids)):
        raise UserError(
            f"{result.num_steps} training steps left the model as it was. Raise finetune.learning_rate "
            f"({config.finetune.learning_rate:g}), or train for more steps: the first step of a warmup has a learning "
            "rate of 0."
        )
    _save(trainer, out / WEIGHTS_FOLDER[config.finetune.method], None if is_lora else dtype)
    return result


def _quieten_libraries() -> None:
    """One progress bar, the tracker's."""
    disable_progress_bar()
    if device().type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # accelerate imports deepspeed, which warns of a guess


def _refuse_rows_beyond_context(training_set: TrainingSet, model: PreTrainedModel) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(training_set.rows, key=lambda row: len(row.input_ids))
    if context and len(longest.input_ids) > context:
        raise UserError(
            f"row {longest.row_id} has {len(longest.input_ids)} tokens and the model's context is {context}; set "
            f"finetune.max_length to {context} or less"
        )


@torch.no_grad()
def _logits(model: Any, input_ids: np.ndarray) -> torch.Tensor:
    """float32 [num_tokens, vocab] on the CPU, without dropout."""
    model.eval()
    return model(input_ids=torch.as_tensor(input_ids, device=model.device)[None]).logits[0].float().cpu()


def _result(trainer: ResponseTrainer, dtype: torch.dtype) -> TrainingResult:
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    tail = steps[-max(1, round(len(steps) / 10)) :]
    seconds = steps[-1]["seconds"]
    return TrainingResult(
        num_steps=trainer.state.global_step,
        num_epochs=trainer.state.epoch,
        final_loss=steps[-1]["loss"],
        tail_loss=sum(entry["loss"] for entry in tail) / len(tail),
        seconds=seconds,
        tokens_per_second=trainer.state.num_input_tokens_seen / seconds,
        num_trainable_parameters=trainer.get_num_trainable_parameters(),
        dtype=str(dtype).removeprefix("torch."),
    )


def _save(trainer: ResponseTrainer, folder: Path, dtype: torch.dtype | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if dtype is not None:
        model: Any = trainer.model
        model.to(dtype)
    trainer.save_model(str(folder))
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle of this machine's paths
