"""TRL's SFTTrainer on rows that are already tokenised, with each row's identity kept up to its batch.

Stops at the first loss or gradient that is not finite and names the step and the rows, before a
checkpoint of such weights can be written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from selectit.errors import UserError
from selectit.finetune.dataset import TrainingRow
from selectit.finetune.sampler import StepSampler

ROW_INDEX = "row_index"


class RowCollator(DataCollatorForLanguageModeling):
    """Pads on the right and adds `row_index`, int64 [batch]: positions in the training set."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        batch[ROW_INDEX] = torch.tensor([example[ROW_INDEX] for example in examples])
        return batch


class ResponseTrainer(SFTTrainer):
    """SFTTrainer for `TrainingRow`s.

    Args:
        rows: the training set.
        seconds_before: training time of the checkpoint that this run goes on from.
        kwargs: those of SFTTrainer, without dataset and collator.
    """

    def __init__(self, rows: Sequence[TrainingRow], seconds_before: float = 0.0, **kwargs: Any) -> None:
        self._row_ids = [row.row_id for row in rows]
        self._lengths = [len(row.input_ids) for row in rows]
        self._rows_of_step: list[int] = []
        columns = {
            "input_ids": [row.input_ids for row in rows],
            "labels": [row.labels for row in rows],
            ROW_INDEX: range(len(rows)),
        }
        tokenizer = kwargs["processing_class"]
        pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        super().__init__(train_dataset=Dataset.from_dict(columns), data_collator=RowCollator(pad_token_id), **kwargs)
        self._start = time.monotonic() - seconds_before

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> StepSampler:
        rows_per_step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return StepSampler(self._lengths, rows_per_step, self.args.seed, lambda: int(self.state.epoch or 0))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        rows = inputs.pop(ROW_INDEX).tolist()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._rows_of_step += rows
        if not torch.isfinite(loss):
            self._stop(f"the loss is {loss.item()}", self.state.global_step + 1, rows)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # a loss scaler (float16) meets infinite gradients by design and skips those steps itself
        if self.accelerator.scaler is None and not math.isfinite(logs.get("grad_norm", 0.0)):
            self._stop(f"the gradient norm is {logs['grad_norm']}", self.state.global_step, self._rows_of_step)
        self._rows_of_step = []
        logs["seconds"] = time.monotonic() - self._start
        super().log(logs, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL writes one with each checkpoint; checkpoints do not outlive the training."""

    def _stop(self, what: str, step: int, rows: Sequence[int]) -> None:
        row_ids = ", ".join(self._row_ids[index] for index in rows)
        raise UserError(
            f"training step {step}: {what}. Rows of that batch: {row_ids}. The usual cure is a lower "
            "finetune.learning_rate or a longer finetune.warmup_ratio; float16 weights overflow, set model.dtype to "
            "bfloat16 or float32. Where it is always the same rows, look at them."
        )
