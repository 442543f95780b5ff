"""One training run from train_config.json to weights on disk: in this process, or one of several.

`python -m selectit.finetune.train FOLDER/train_config.json`, under torchrun for many nodes. Writes adapter/ (lora,
qlora) or model/ (full) with the tokenizer and its chat template, training.json (counts, losses, speed) and
checkpoints/, where it resumes from the newest complete one.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from rich.console import Console
from safetensors import SafetensorError
from transformers import PreTrainedModel, PrinterCallback, TrainerState, set_seed
from transformers.utils.logging import disable_progress_bar

from selectit.config import FinetuneConfig
from selectit.errors import Preempted, UserError, is_full
from selectit.finetune.arguments import lora_config, sft_config, with_adapter
from selectit.finetune.budget import step_order, steps_to, tokens_until, trained_tokens
from selectit.finetune.card import write_card
from selectit.finetune.changes import changed_share, share_text
from selectit.finetune.checkpoints import (
    SaveInTime,
    drop_incomplete,
    drop_metrics_after,
    newest_complete,
    read_state,
    refuse_other_shares,
)
from selectit.finetune.dataset import TrainingSet, tokenize, unusable_rows_text
from selectit.finetune.epochs import EpochEnds, take_best
from selectit.finetune.example import write_example, write_row_tokens
from selectit.finetune.memory import check_memory, largest_pass, room_now, steady_allocation
from selectit.finetune.packing import refuse_leaks
from selectit.finetune.preemption import StopAfterStep, StopRequest
from selectit.finetune.processes import check_number, join_deepspeed, rank, wait_for_all
from selectit.finetune.reporting import EventTracker, TrackerCallback, report_folders
from selectit.finetune.rows import TrainingRows, read_rows
from selectit.finetune.run_file import TrainingRun, read_run
from selectit.finetune.trainer import ResponseTrainer, is_over
from selectit.finetune.training_record import write_training_record
from selectit.finetune.weights import (
    gathered_layer_by_layer,
    load_for_training,
    save_weights,
    set_ends,
)
from selectit.finetune.worker import EVENTS_FILE, LAUNCH_VARIABLE, LOGS_FOLDER, STOP_FILE, work
from selectit.inference.load import device, load_tokenizer, resolve_dtype
from selectit.store.names import METRICS_FILE
from selectit.store.trained_on import trained_on, write_record
from selectit.templates.form import load_form
from selectit.tracking import Tracker


def train(run: TrainingRun, tracker: Tracker, stop: StopRequest) -> None:
    """Train and save; with several processes, each of them calls this.

    Raises: UserError where rows cannot be tokenised (see `selectit.finetune.dataset.tokenize`) or do not fit the
        model's context, a loss is not finite, memory or disk run out, or training has changed nothing;
        Preempted after a checkpoint, where `stop` was asked for.
    """
    config, finetune, dtype = run.stage, run.stage.finetune, resolve_dtype(run.stage.model)
    _quieten_libraries()
    steady_allocation()
    check_number(finetune)
    tokenizer = load_tokenizer(config.model)
    form = load_form(finetune.template, tokenizer)
    rows = read_rows(run.messages, finetune)
    training_set = tokenize(rows.trained, form, finetune, config.bad_rows)
    validation = tokenize(rows.validation, form, finetune, config.bad_rows) if rows.validation else None
    order = step_order(training_set.rows, finetune, config.seed, rows.scores)
    tokens = trained_tokens(training_set.rows)
    end = finetune.max_steps
    if finetune.budget_tokens is not None:
        end = steps_to(finetune.budget_tokens, order, tokens)
    arguments = sft_config(config, run.checkpoints, end)  # before the model: it picks the device, and ZeRO-3 for it
    if finetune.deepspeed != "none":
        join_deepspeed()
    checkpoint, done = _go_on(run)
    if rank() == 0:
        _note_beginnings(tracker, training_set, rows, finetune, dtype, done)
    memory_note = check_memory(config, room_now(), largest_pass(order, finetune.packing))
    if memory_note and rank() == 0:
        tracker.note(memory_note)

    model = load_for_training(config)
    for read in filter(None, (training_set, validation)):
        _refuse_rows_beyond_context(read, model)
    tokenizer.chat_template = form.text
    if finetune.packing:
        with gathered_layer_by_layer(model):
            refuse_leaks(model, training_set.rows)

    def describe(folder: Path) -> None:
        write_record(folder, trained_on(run.base, form))
        model.generation_config.save_pretrained(folder)

    set_ends(model, form)
    saved_dtype = None if finetune.trains_adapter else dtype
    ends = EpochEnds(run, order.steps_per_epoch, saved_dtype, describe)
    set_seed(config.seed)
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore", FutureWarning)  # PEFT and TRL still use names that transformers 5 renamed
        is_new = finetune.trains_adapter and finetune.adapter is None
        stack.enter_context(report_folders(finetune.report_to, run.out))
        reports = TrackerCallback(tracker, stack, to_file="wandb" in finetune.report_to)
        trainer = ends.trainer = ResponseTrainer(
            run,
            training_set.rows,
            validation.rows if validation else (),
            order,
            done,
            model=model if finetune.adapter is None else with_adapter(config, model),
            args=arguments,
            processing_class=tokenizer,
            peft_config=lora_config(config, model) if is_new else None,
            callbacks=[SaveInTime(finetune.save_minutes), ends, StopAfterStep(stop), reports],
        )
        trainer.remove_callback(PrinterCallback)
        with _memory_errors(finetune):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not is_over(trainer.state, finetune):
        raise Preempted(
            f"stopped after training step {trainer.state.global_step} of {trainer.state.max_steps}, which is saved; "
            "the same command resumes from here",
            stop.exit_code,
        )

    with _full_disk(run, trainer.state):
        if finetune.early_stopping is None:
            save_weights(trainer, run.weights, saved_dtype)
        elif rank() == 0:
            take_best(run)
    if rank() == 0:
        share = changed_share(run)
        changed = share_text(share, str(dtype).removeprefix("torch."), finetune)
        tracker.note(f"fine-tune: {changed}")
        write_card(run, training_set, validation, rows, trainer.state.log_history, changed)
        describe(run.weights)
        first = next(c for c in rows.trained if c.row_id == training_set.rows[0].row_id)
        write_example(first, training_set.rows[0], form, run.out)
        write_row_tokens(training_set, run.out)
        num_trained_tokens = tokens_until(trainer.state.global_step, order, tokens)
        write_training_record(run, training_set, validation, rows, trainer, dtype, num_trained_tokens, share)
    wait_for_all()


def _quieten_libraries() -> None:
    """One progress bar, the tracker's."""
    disable_progress_bar()
    if device().type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # accelerate imports deepspeed, which warns of a guess


def _go_on(run: TrainingRun) -> tuple[Path | None, TrainerState]:
    """The checkpoint to resume from and its state, the same in every process; none, and the first step's."""
    if rank() == 0:
        run.checkpoints.mkdir(exist_ok=True)
        drop_incomplete(run.checkpoints)
    wait_for_all()
    checkpoint = newest_complete(run.checkpoints)
    if checkpoint:
        refuse_other_shares(checkpoint, run.stage.finetune)
    done = read_state(checkpoint) if checkpoint else TrainerState()
    if rank() == 0:
        drop_metrics_after(run.out / METRICS_FILE, done.global_step)
    wait_for_all()
    return checkpoint, done


def _note_beginnings(
    tracker: Tracker,
    training_set: TrainingSet,
    rows: TrainingRows,
    finetune: FinetuneConfig,
    dtype: torch.dtype,
    done: TrainerState,
) -> None:
    num_rows = len(training_set.rows)
    if rows.num_replayed:
        tracker.note(f"fine-tune: {rows.num_replayed} of {num_rows} rows are replayed")
    if rows.num_also_in_validation:
        tracker.note(f"fine-tune: {rows.num_also_in_validation} rows are left out, since the same ones are held out")
    if training_set.num_truncated:
        tracker.note(f"fine-tune: {training_set.num_truncated} of {num_rows} rows truncated to max_length")
    if training_set.left_out:
        tracker.note(f"fine-tune: {unusable_rows_text(training_set.left_out, num_rows + len(training_set.left_out))}")
    if training_set.control_tokens:
        named = ", ".join(f"{token} ({count})" for token, count in training_set.control_tokens.most_common())
        tracker.note(f"fine-tune: special tokens in the rows' own words, read as plain text: {named}")
    if num_rows < finetune.global_batch_size:
        tracker.note(f"fine-tune: each step takes all {num_rows} rows, fewer than global_batch_size")
    if device().type == "cpu" and dtype != torch.float32:
        tracker.note(f"fine-tune: {dtype} on a CPU is many times slower than float32; set model.dtype to float32")
    if done.global_step:
        tracker.note(f"fine-tune: resuming after step {done.global_step}")


def _refuse_rows_beyond_context(training_set: TrainingSet, model: PreTrainedModel) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(training_set.rows, key=lambda row: len(row.input_ids))
    if context and len(longest.input_ids) > context:
        raise UserError(
            f"row {longest.row_id} has {len(longest.input_ids)} tokens and the model's context is {context}; set "
            f"finetune.max_length to {context} or less"
        )


@contextmanager
def _memory_errors(finetune: FinetuneConfig) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU's memory does not hold finetune.micro_batch_size {finetune.micro_batch_size} rows of up to "
            f"{finetune.max_length} tokens ({str(error).splitlines()[0]}). Lower finetune.micro_batch_size, set "
            "finetune.gradient_checkpointing to true, use finetune.deepspeed zero3, or method lora or qlora."
        ) from error


@contextmanager
def _full_disk(run: TrainingRun, state: TrainerState) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        raise UserError(
            f"the disk has no room for {run.weights} ({shutil.disk_usage(run.out).free / 2**20:,.0f} MiB free). All "
            f"{state.global_step} steps are saved in {run.checkpoints}; free some and run the same command again, "
            "which only writes the weights"
        ) from error


def main() -> None:
    """Train as the file describes; the exit code is 0, 75 after SIGTERM (run again to resume), or 1."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {__spec__.name} FOLDER/train_config.json")
    try:
        run = read_run(Path(sys.argv[1]))
        if launch := os.environ.get(LAUNCH_VARIABLE):
            _train_launched(run, Path(launch))
        stop = StopRequest()
        with stop.listening():
            train(run, Tracker(run.out, Console(quiet=rank() > 0)), stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Preempted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.code)


def _train_launched(run: TrainingRun, launch: Path) -> None:
    stop = StopRequest(launch / STOP_FILE)
    tracker = EventTracker(run.out, launch / EVENTS_FILE)
    with stop.listening():
        work(launch, run.out / LOGS_FOLDER, lambda: train(run, tracker, stop))


if __name__ == "__main__":
    main()
