"""The losses stage: one model over one pool, the loss of every response, given its instruction or alone, and what else
is asked of the same forward pass: entropies, and a vector of each row.

Reads the pool and the model; writes ledger.parquet, the matrices of the vectors, and losses.json. Goes on where a
killed run was.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from selectit.config import LossStage
from selectit.errors import UserError
from selectit.inference.batch import LossText
from selectit.inference.load import load_skeleton, load_tokenizer, refuse_ids_beyond_embedding
from selectit.inference.loaded import LoadedRater
from selectit.inference.quantised import check_quantization
from selectit.inference.token_rater import Quantity, entropy, loss, make_token_rater
from selectit.scoring.ledger import drop_parts, value_counts
from selectit.scoring.loss_ledger import NOT_FINITE, LossRecord, schema_of, schema_of_parts, write_features
from selectit.scoring.loss_texts import index_losses, loss_batches, loss_texts
from selectit.scoring.notes import READ_ALONE, failures_text
from selectit.scoring.work import ShareTask, WorkDone, done_elsewhere, finish, working
from selectit.store.names import LOSSES_RECORD
from selectit.templates.form import load_form
from selectit.tracking import Tracker

QUANTITIES: dict[str, Quantity] = {"loss": loss, "entropy": entropy}
"""What is a number of every token."""


class LossJob:
    """A `selectit.scoring.work.Job`: one model over one pool.

    Raises: UserError for a pool that cannot be read or has no row to read, a template that does not mark the
        response, or a tokenizer that is not the model's.
    """

    def __init__(self, config: LossStage, tuned: Path | None = None) -> None:
        """Args: tuned: the folder of a finished training, whose model reads in place of its base."""
        self.config, self._tuned = config, tuned
        self.index = index_losses(config.pool)
        if not self.index.num_usable:
            raise UserError(
                f"pool {config.pool.path}: no row can be read for its loss: {failures_text(self.index.failures)}"
            )
        self.tokenizer = load_tokenizer(config.model)
        load_form(config.template, self.tokenizer)
        self.groups = (config.text,)
        skeleton = load_skeleton(config.model)
        refuse_ids_beyond_embedding(self.tokenizer, skeleton, self._all_ids())
        self.per_token = tuple(name for name in config.quantities if name in QUANTITIES)
        self.width = width_of_states(skeleton)
        self.schema = schema_of_parts(config.quantities, config.poolings, self.width)

    def _all_ids(self) -> Iterator[np.ndarray]:
        for groups in self.index.groups(np.zeros(self.index.num_rows, dtype=bool)):
            yield from (text.ids for text in loss_texts(self.tokenizer, self.config, groups))

    def load(self, num_processes: int | None) -> LoadedRater:
        quantities = tuple(QUANTITIES[name] for name in self.per_token)
        make = functools.partial(make_token_rater, quantities=quantities, poolings=self.config.poolings)
        return LoadedRater(self.config.model, make, num_processes, self.config.quantization, self._tuned)


def preflight(config: LossStage) -> None:
    """Raises: UserError, see `LossJob`; for a quantised model that cannot be loaded here."""
    check_quantization(config)
    LossJob(config)


def run(config: LossStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Args:    inputs: {} for the model as it is, or {"model": a finetune artifact}.
    Returns: number of rows, losses, failures and truncated rows, mean loss of a row's response token, speed.
    Raises:  NotRun where the processes are started by hand and have not done it all.
    """
    tuned = inputs["model"].resolve() if "model" in inputs else None
    job = LossJob(config, tuned)
    index = job.index
    task = ShareTask(stage=config, out=out.resolve(), tuned=tuned)
    if config.launcher == "external":
        done = done_elsewhere(job, task)
    else:
        done = take_losses(job, task, tracker, config.num_processes)
    ledger, work = finish(job, out, done, schema_of(config.quantities))
    for pooling in config.poolings:
        write_features(out, pooling, config.text, index.row_ids, job.schema)
    facts = work.facts
    table = parquet.read_table(ledger, columns=["response_loss", "num_tokens", "truncated", "failure"])

    failures = value_counts(table["failure"]) + index.failures
    losses = table["response_loss"].drop_null().to_numpy()
    num_tokens = table["num_tokens"].to_numpy()
    summary = {
        "num_rows": index.num_rows,
        "num_losses": len(losses),
        "num_failures": sum(failures.values()),
        "num_truncated": int(table["truncated"].to_numpy().sum()),
        "num_over_context": int((num_tokens > facts.context).sum()) if facts.context else 0,
        "mean_loss": float(losses.mean()) if len(losses) else 0.0,
        "num_tokens": int(num_tokens.sum()),
        "tokens_per_second": work.tokens_per_second,
    }
    details = {
        "text": config.text,
        "template": config.template,
        "quantities": list(config.quantities),
        **work.describe(),
        "max_length": config.max_length,
        "failures": dict(failures),
    }
    (out / LOSSES_RECORD).write_text(json.dumps({**summary, **details}, indent=2) + "\n", encoding="utf-8")
    if facts.reads_alone:
        tracker.note(READ_ALONE)
    if failures:
        tracker.note(f"no loss: {failures_text(failures)}; these rows are ranked last and never selected")
    if summary["num_over_context"]:
        tracker.note(
            f"{summary['num_over_context']} rows are longer than the model's context of {facts.context} tokens; they "
            "were read whole. score.max_length cuts them."
        )
    tracker.log({f"losses/{name}": value for name, value in summary.items()})
    drop_parts(out)
    return summary


def take_losses(
    job: LossJob, task: ShareTask, tracker: Tracker, num_processes: int | None, share: tuple[int, int] | None = None
) -> WorkDone:
    """Write a record for every text that the stage's folder does not hold; arguments and errors as of
    `selectit.scoring.stage.rate`.
    """
    config, index = job.config, job.index
    with working(job, task.out, num_processes, share) as work, tracker.progress("losses", int(work.mine.sum())) as step:
        [done], rater = work.done, work.rater
        step(int((done & work.mine).sum()))
        pending = loss_batches(job.tokenizer, config, index, done, work.batch_tokens, rater.pads, work.share)
        for batch, numbers in rater.rate(rater.plan(pending)):
            records = [r for text, own in zip(batch.items, numbers, strict=True) for r in _records(job, text, own)]
            work.writer.add(records)
            work.num_tokens += sum(record.num_tokens for record in records)
            step(len(records))
    return work.record


def _records(job: LossJob, text: Any, numbers: np.ndarray) -> list[LossRecord]:
    """Args: numbers: what the rater gives of the text."""
    assert isinstance(text, LossText)
    config = job.config
    num_scored, num_sums = int(text.scored.sum()), 2 * len(job.per_token)
    failure = text.failure if num_scored == 0 else None if np.isfinite(numbers).all() else NOT_FINITE
    kept: dict[str, Any] = {"response_loss": None, "full_loss": None}
    if failure is None:
        means = numbers[:num_sums].reshape(-1, 2) / [num_scored, max(len(text.ids) - 1, 1)]
        for name, (response, full) in zip(job.per_token, means.tolist(), strict=True):
            kept |= {f"response_{name}": response, f"full_{name}": full}
        vectors = numbers[num_sums:].astype("<f4").reshape(len(config.poolings), job.width)
        kept |= {name: own.tobytes() for name, own in zip(config.poolings, vectors, strict=True)}
    return [
        LossRecord(
            row_id,
            config.text,
            num_response_tokens=num_scored,
            num_tokens=len(text.ids),
            truncated=text.truncated,
            failure=failure,
            **kept,
        )
        for row_id, _ in text.keys
    ]


def width_of_states(model: Any) -> int:
    """Of the last hidden states, as the output head takes them."""
    head = model.get_output_embeddings()
    return int(model.config.get_text_config().hidden_size if head is None else head.weight.shape[-1])
