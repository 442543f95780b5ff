"""What every stage with a ledger uses while it works: the loaded model, the ledger, and the records of all processes.

The work is done by the stage's process, or by several that are started by hand, on any nodes. Each writes its records
below `ledger/`, and says in `ledger/process-*.json` what it computed with. Shares of the distinct texts need no word
between processes, only one folder that all of them see.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from selectit.config import Config, LossStage, ScoreStage
from selectit.data.index import PoolIndex
from selectit.data.whole_files import write_whole
from selectit.errors import NotRun, UserError
from selectit.inference.loaded import Loaded, RaterFacts
from selectit.scoring.batch_tokens import tokens_of_a_batch
from selectit.scoring.ledger import PARTS, LedgerWriter

TASK_FILE = "task.json"
SHARE_MODULE = "selectit.scoring.share"


class ShareTask(Config):
    """What a process that is started by hand needs to know."""

    stage: ScoreStage | LossStage
    out: Path
    """The stage's folder."""
    tuned: Path | None = None
    """Of losses of another arm's model: the folder of its training."""
    earlier: tuple[Path, ...] = ()
    """Finished score artifacts whose ratings may be reused."""


class WorkDone(Config):
    """What one process computed with, and how much; the numbers are 0 until it has ended."""

    facts: RaterFacts
    batch_tokens: int
    world_size: int
    num_processes: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    peak_memory_mb: int = 0
    ended: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds if self.seconds else 0.0

    def describe(self) -> dict[str, Any]:
        """What the stage's own JSON says of it."""
        facts = self.facts
        return {
            "dtype": facts.dtype,
            "device": facts.device,
            "rater": facts.rater,
            "reads_alone": facts.reads_alone,
            "placement": facts.placement,
            "context": facts.context,
            "num_processes": self.num_processes,
            "batch_tokens": self.batch_tokens,
        }


class Job(Protocol):
    """A pool, a model, and what is to be found out about each of the pool's texts."""

    @property
    def config(self) -> ScoreStage | LossStage: ...

    @property
    def index(self) -> PoolIndex: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def groups(self) -> Sequence[Any]:
        """What stands under one another in the finished ledger: every usable row has a record in each."""

    def load(self, num_processes: int | None) -> Loaded: ...


@dataclass
class WorkInProgress:
    """Of one process: what it works with and what has been measured of it."""

    rater: Loaded
    writer: LedgerWriter
    done: np.ndarray
    """bool [num_groups, num_rows], what was on disk when it began."""
    mine: np.ndarray
    """bool [num_rows], the rows that are this process's."""
    batch_tokens: int
    share: tuple[int, int]
    """Rank and world size."""
    record: WorkDone
    """What the process's file holds: whole once the work has ended."""
    num_tokens: int = 0
    """Read so far, those of shared prefixes included."""
    peak_memory_mb: int = 0


@contextmanager
def working(job: Job, out: Path, num_processes: int | None, share: tuple[int, int] | None) -> Iterator[WorkInProgress]:
    """The model is loaded, and afterwards all records are on disk.

    Args:   share: rank and world size, where other processes do the rest of it at the same time.
    Raises: UserError where the records on disk come of another number type or kind of device.
    """
    name = f"process-{socket.gethostname()}-{os.getpid()}"
    writer = LedgerWriter(out, job.schema, own_folder=name if share else None)
    with job.load(num_processes) as rater:
        limit = tokens_of_a_batch(job.config, rater.facts.device)
        record = WorkDone(facts=rater.facts, batch_tokens=limit, world_size=share[1] if share else 1)
        for other, theirs in _read_processes(out).items():
            _refuse_another_kind(record.facts, theirs.facts, out / PARTS / other)
        _write_process(out, name, record)
        started, share = time.monotonic(), share or (0, 1)
        done, mine = writer.done(job.index.row_ids, job.groups), job.index.rows_of(share)
        work = WorkInProgress(rater, writer, done, mine, limit, share, record)
        yield work
        seconds = time.monotonic() - started
        num_processes = rater.num_processes
    writer.flush()
    ended = {"num_processes": num_processes, "seconds": seconds, "ended": time.time()}
    measured = {"num_tokens": work.num_tokens, "peak_memory_mb": work.peak_memory_mb}
    work.record = record.model_copy(update={**ended, **measured})
    _write_process(out, name, work.record)


def finish(job: Job, out: Path, done: WorkDone, schema: pa.Schema | None = None) -> tuple[Path, WorkDone]:
    """Args:    done: what was computed with; schema: columns of the finished ledger, all of the job's without it.
    Returns: the finished ledger, and the same with all raters named.
    """
    processes = _read_processes(out)
    for other, its in processes.items():  # again, for processes that began at the same moment
        _refuse_another_kind(done.facts, its.facts, out / PARTS / other)
    raters = sorted({its.facts.rater for its in processes.values()})
    done = done.model_copy(update={"facts": replace(done.facts, rater=" and ".join(raters))})
    return LedgerWriter(out, job.schema).finish(job.index.row_ids, schema), done


def done_elsewhere(job: Job, task: ShareTask) -> WorkDone:
    """The work of processes that are started by hand: the newest of them, with the numbers of all that have ended.
    Speed is that of as many at the mean speed.

    Raises: NotRun where they have not done it all.
    """
    _refuse_missing(job, task)
    processes = sorted(_read_processes(task.out).values(), key=lambda done: done.ended)
    newest = processes[-1]
    seconds = sum(done.seconds for done in processes) / newest.world_size
    return newest.model_copy(
        update={
            "num_processes": newest.num_processes * newest.world_size,
            "num_tokens": sum(done.num_tokens for done in processes),
            "seconds": seconds,
            "peak_memory_mb": max(done.peak_memory_mb for done in processes),
        }
    )


def _refuse_missing(job: Job, task: ShareTask) -> None:
    done = LedgerWriter(task.out, job.schema).done(job.index.row_ids, job.groups)
    wanted = job.index.num_usable * len(job.groups)
    if missing := wanted - int(np.count_nonzero(done)):
        file = task.out / PARTS / TASK_FILE
        write_whole(file, task.model_dump_json(indent=2) + "\n")
        raise NotRun(
            f"score.launcher is external: {missing:,} of {wanted:,} records are missing. Let each node compute its "
            f"share, such as with `srun --ntasks-per-node=1 python -m {SHARE_MODULE} {shlex.quote(str(file))}`, and "
            "run this command again when they are done"
        )


def _write_process(out: Path, name: str, done: WorkDone) -> None:
    write_whole(out / PARTS / f"{name}.json", done.model_dump_json(indent=2) + "\n")


def _read_processes(out: Path) -> dict[str, WorkDone]:
    """By the name of the file."""
    files = sorted((out / PARTS).glob("process-*.json"))
    return {file.name: WorkDone.model_validate_json(file.read_text(encoding="utf-8")) for file in files}


def _refuse_another_kind(mine: RaterFacts, theirs: RaterFacts, file: Path) -> None:
    if (mine.dtype, mine.device) != (theirs.dtype, theirs.device):
        raise UserError(
            f"{file} says that records of this ledger were computed in {theirs.dtype} on {theirs.device}, and others "
            f"would be in {mine.dtype} on {mine.device}. Resume where it was begun, or set the model's dtype; to "
            f"start again, delete {file.parent}."
        )
