"""The losses stage: one model over one pool, the loss of every response, given its instruction or alone.

Reads the pool and the model; writes ledger.parquet and losses.json. Goes on where a killed run was.
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
from selectit.inference.token_rater import loss, make_token_rater
from selectit.scoring.ledger import drop_parts, value_counts
from selectit.scoring.loss_ledger import NOT_FINITE, SCHEMA, LossRecord
from selectit.scoring.loss_texts import index_losses, loss_batches, loss_texts
from selectit.scoring.notes import READ_ALONE, failures_text
from selectit.scoring.work import ShareTask, WorkDone, done_elsewhere, finish, working
from selectit.store.names import LOSSES_RECORD
from selectit.templates.form import load_form
from selectit.tracking import Tracker


class LossJob:
    """A `selectit.scoring.work.Job`: one model over one pool.

    Raises: UserError for a pool that cannot be read or has no row to read, a template that does not mark the
        response, or a tokenizer that is not the model's.
    """

    schema = SCHEMA

    def __init__(self, config: LossStage) -> None:
        self.config = config
        self.index = index_losses(config.pool)
        if not self.index.num_usable:
            raise UserError(
                f"pool {config.pool.path}: no row can be read for its loss: {failures_text(self.index.failures)}"
            )
        self.tokenizer = load_tokenizer(config.model)
        load_form(config.template, self.tokenizer)
        self.groups = (config.text,)
        refuse_ids_beyond_embedding(self.tokenizer, load_skeleton(config.model), self._all_ids())

    def _all_ids(self) -> Iterator[np.ndarray]:
        for groups in self.index.groups(np.zeros(self.index.num_rows, dtype=bool)):
            yield from (text.ids for text in loss_texts(self.tokenizer, self.config, groups))

    def load(self, num_processes: int | None) -> LoadedRater:
        make = functools.partial(make_token_rater, quantities=(loss,))
        return LoadedRater(self.config.model, make, num_processes, self.config.quantization)


def preflight(config: LossStage) -> None:
    """Raises: UserError, see `LossJob`; for a quantised model that cannot be loaded here."""
    check_quantization(config)
    LossJob(config)


def run(config: LossStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Returns: number of rows, losses, failures and truncated rows, mean loss of a row's response token, speed.
    Raises:  NotRun where the processes are started by hand and have not done it all.
    """
    job = LossJob(config)
    index = job.index
    task = ShareTask(stage=config, out=out.resolve())
    if config.launcher == "external":
        done = done_elsewhere(job, task)
    else:
        done = take_losses(job, task, tracker, config.num_processes)
    ledger, work = finish(job, out, done)
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
        for batch, sums in rater.rate(rater.plan(pending)):
            records = [r for text, own in zip(batch.items, sums, strict=True) for r in _records(config, text, own)]
            work.writer.add(records)
            work.num_tokens += sum(record.num_tokens for record in records)
            step(len(records))
    return work.record


def _records(config: LossStage, text: Any, sums: np.ndarray) -> list[LossRecord]:
    assert isinstance(text, LossText)
    num_scored = int(text.scored.sum())
    response, full = float(sums[0]) / max(num_scored, 1), float(sums[1]) / max(len(text.ids) - 1, 1)
    failure = text.failure if num_scored == 0 else None if np.isfinite(sums).all() else NOT_FINITE
    return [
        LossRecord(
            row_id,
            config.text,
            response_loss=None if failure else response,
            num_response_tokens=num_scored,
            full_loss=None if failure else full,
            num_tokens=len(text.ids),
            truncated=text.truncated,
            failure=failure,
        )
        for row_id, _ in text.keys
    ]
