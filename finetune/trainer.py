"""TRL's SFTTrainer on rows that are already tokenised, with each row's identity kept up to its batch.

Rows, passes and dropout of a step do not depend on the number of processes. Stops in every process at the
first loss or gradient that is not finite and names the step and the rows, before a checkpoint of such
weights can be written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import TrainerState
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.finetune.checkpoints import check_disk_space, keep_newest, mark_complete
from selectit.finetune.dataset import IGNORED_LABEL, TrainingRow
from selectit.finetune.processes import gathered, highest, wait_for_all
from selectit.finetune.reporting import peak_memory_mb
from selectit.finetune.run_file import TrainingRun
from selectit.finetune.sampler import PassSampler, StepOrder
from selectit.finetune.validation import VALIDATION_LOSS, has_stopped

ROW_INDEX = "row_index"
NUM_FILLER_TOKENS = 2


class RowCollator(DataCollatorForLanguageModeling):
    """Pads on the right, or with `padding_free` concatenates rows, each with positions from 0.

    Adds `row_index`, int64 [batch]: positions in the training set.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        batch[ROW_INDEX] = torch.tensor([example[ROW_INDEX] for example in examples])
        return batch


class ResponseTrainer(SFTTrainer):
    """SFTTrainer for `TrainingRow`s.

    Args:
        run: its batch sizes, seed and checkpoint folder.
        rows: the training set.
        validation: rows whose loss is computed after every epoch.
        order: of the training set.
        done: state of the checkpoint that this run resumes from; at step 0 there is none.
        kwargs: those of SFTTrainer, without dataset and collator.
    """

    def __init__(
        self,
        run: TrainingRun,
        rows: Sequence[TrainingRow],
        validation: Sequence[TrainingRow],
        order: StepOrder,
        done: TrainerState,
        **kwargs: Any,
    ) -> None:
        finetune = run.stage.finetune
        self._run = run
        self._is_over = is_over(done, finetune)
        self._validation = validation
        self._row_ids = [row.row_id for row in rows]
        self._order = order
        self._rows_of_step: list[list[int]] = []
        """Of each pass that this process has made in the running step."""
        self._rows_without_loss: list[int] = []
        filler = rows[0].input_ids[:NUM_FILLER_TOKENS]
        columns = {
            "input_ids": [*(row.input_ids for row in rows), filler],
            "labels": [*(row.labels for row in rows), [IGNORED_LABEL] * len(filler)],
            ROW_INDEX: range(len(rows) + 1),
        }
        tokenizer = kwargs["processing_class"]
        pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        collator = RowCollator(pad_token_id, padding_free=finetune.packing)
        self._dataset: Any = Dataset.from_dict(columns)
        super().__init__(train_dataset=self._dataset, data_collator=collator, **kwargs)
        seconds_before = _of_last_step(done, "seconds")
        self._start = time.monotonic() - seconds_before
        self._seconds_logged = seconds_before

    def set_initial_training_values(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Of no epoch where the last step is behind the checkpoint; transformers would train on one step too many."""
        epochs, *others = super().set_initial_training_values(*args, **kwargs)
        return (0 if self._is_over else epochs, *others)

    def get_train_dataloader(self) -> DataLoader:
        """Not prepared by accelerate, which would deal out whole steps and repeat rows to make them even."""
        sampler = PassSampler(
            self._order, self.args.process_index, self.args.world_size, len(self._row_ids), self._epoch
        )
        return DataLoader(
            self._dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _epoch(self) -> int:
        return self.state.global_step // self._order.steps_per_epoch

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        rows = [row for row in inputs.pop(ROW_INDEX).tolist() if row < len(self._row_ids)]
        self._seed_pass()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._rows_of_step.append(rows)
        if not torch.isfinite(loss):
            self._rows_without_loss += rows
        return loss

    def _seed_pass(self) -> None:
        """Dropout follows from seed, step and pass, so neither a kill nor the number of processes changes it."""
        position = len(self._rows_of_step) * self.args.world_size + self.args.process_index
        torch.manual_seed(((self.args.seed * 1_000_003 + self.state.global_step) * 65_537 + position) % 2**63)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # the line of a step, not the summary at the end
            self._refuse_what_is_not_finite(logs)
            seconds = time.monotonic() - self._start
            step_tokens = self._order.sum_over_step(self.state.global_step - 1, self._order.lengths)
            logs["seconds"] = seconds
            logs["tokens"] = _of_last_step(self.state, "tokens") + step_tokens
            logs["tokens_per_second"] = step_tokens / (seconds - self._seconds_logged)
            logs["peak_memory_mb"] = highest(peak_memory_mb())
            self._seconds_logged, self._rows_of_step = seconds, []
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss and accuracy on the validation rows, each token counting once; every process takes its share of them.

        transformers averages over batches, whatever their numbers of tokens.
        """
        model = self.model_wrapped if self.is_deepspeed_enabled else self.model
        assert model is not None
        model.eval()
        order = sorted(range(len(self._validation)), key=lambda at: -len(self._validation[at].input_ids))
        size = self.args.per_device_train_batch_size
        passes = [order[at : at + size] for at in range(0, len(order), size)]
        num_passes = len(passes)
        passes += [order[:1]] * (-num_passes % self.args.world_size)  # with ZeRO-3 all make equally many
        sums = [0.0, 0.0, 0.0]
        for position in range(self.args.process_index, len(passes), self.args.world_size):
            found = self._validate(model, [self._validation[at] for at in passes[position]])
            if position < num_passes:
                sums = [total + value for total, value in zip(sums, found, strict=True)]
        loss, correct, number = (sum(gathered([value])) for value in sums)
        metrics = {VALIDATION_LOSS: loss / number, "eval_token_accuracy": correct / number}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validate(self, model: Any, rows: Sequence[TrainingRow]) -> list[float]:
        """Sum of the loss, tokens that the model would have written, and tokens."""
        examples = [{"input_ids": row.input_ids, "labels": row.labels, ROW_INDEX: 0} for row in rows]
        # transformers moves a batch to the device, as autocast and DeepSpeed want it, in this method only
        inputs: Any = self._prepare_inputs(self.data_collator(examples))
        del inputs[ROW_INDEX]
        with self.compute_loss_context_manager():
            outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        return [float(value.double().sum()) for value in (-outputs.log_probs, outputs.is_top1, outputs.label_mask)]

    def _refuse_what_is_not_finite(self, logs: dict[str, float]) -> None:
        """Loss and gradient norm are those of all processes, so all of them raise, with the same rows."""
        if not math.isfinite(logs["loss"]):
            self._stop(f"the loss is {logs['loss']}", self._rows_without_loss)
        # the loss scaler of float16 meets infinite gradients by design and skips those steps itself
        if not self.args.fp16 and not math.isfinite(logs.get("grad_norm", 0.0)):
            self._stop(f"the gradient norm is {logs['grad_norm']}", [])

    def _stop(self, what: str, rows_without_loss: list[int]) -> None:
        rows = gathered(rows_without_loss) or gathered([row for rows in self._rows_of_step for row in rows])
        row_ids = ", ".join(self._row_ids[row] for row in sorted(rows))
        raise UserError(
            f"training step {self.state.global_step}: {what}. Rows of that batch: {row_ids}. The usual cure is a "
            "lower finetune.learning_rate or a longer finetune.warmup_ratio; float16 weights overflow, set "
            "model.dtype to bfloat16 or float32. Where it is always the same rows, look at them."
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A checkpoint counts once every process has written its part.

        That of the last step holds no optimizer, which nothing needs any more; DeepSpeed resumes from whole ones only.
        No public method stands around the writing: `on_save` comes after it and knows no size.
        """
        folder, sharded = self._run.checkpoints, self._run.stage.finetune.deepspeed != "none"
        self.args.save_only_model = not sharded and is_over(self.state, self._run.stage.finetune)
        check_disk_space(folder, self.model, self.state.global_step, sharded, self.args.save_only_model)
        super()._save_checkpoint(model, trial)
        wait_for_all()
        if self.is_world_process_zero():
            mark_complete(folder / f"checkpoint-{self.state.global_step}", self._run.stage.finetune)
            keep_newest(folder)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL writes one with each checkpoint; checkpoints do not outlive the training."""


def is_over(state: TrainerState, finetune: FinetuneConfig) -> bool:
    """Whether no step is left, since all are done or early stopping ended the training."""
    return 0 < state.max_steps <= state.global_step or has_stopped(state.log_history, finetune)


def _of_last_step(state: TrainerState, name: str) -> float:
    """What the newest line of a step has; 0 before the first one."""
    return next((entry[name] for entry in reversed(state.log_history) if name in entry), 0)
