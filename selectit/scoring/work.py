"""The work behind a ledger: done by this process, or by several that are started by hand, on any nodes.

Each process writes its records below `ledger/`, and says in `ledger/process-*.json` what it computed with. Shares of
the distinct texts need no word between processes, only one folder that all of them see.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
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
from selectit.tracking import Tracker

TASK_FILE = "task.json"
SHARE_MODULE = "selectit.scoring.share"


class ShareTask(Config):
    """What a process that is started by hand needs to know."""

    stage: ScoreStage | LossStage
    out: Path
    """The stage's folder."""
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

    def do(self, rater: Loaded, writer: LedgerWriter, tracker: Tracker, share: tuple[int, int]) -> dict[str, int]:
        """Write a record for every text of the share that has none. Returns: num_tokens that were read, and what else
        of `WorkDone` was measured."""


def complete(job: Job, task: ShareTask, tracker: Tracker) -> tuple[Path, WorkDone]:
    """Returns: the finished ledger, and what was computed with.

    Raises: NotRun where the processes are started by hand and have not done it all.
    """
    if job.config.launcher == "external":
        _refuse_missing(job, task)
        done = _last_launch(task.out)
    else:
        done = perform(job, task.out, tracker, job.config.num_processes)
    processes = _read_processes(task.out)
    for other, its in processes.items():  # again, for processes that began at the same moment
        _refuse_another_kind(done.facts, its.facts, task.out / PARTS / other)
    raters = sorted({its.facts.rater for its in processes.values()})
    done = done.model_copy(update={"facts": replace(done.facts, rater=" and ".join(raters))})
    return LedgerWriter(task.out, job.schema).finish(job.index.row_ids), done


def perform(
    job: Job, out: Path, tracker: Tracker, num_processes: int | None, share: tuple[int, int] | None = None
) -> WorkDone:
    """Do the work in this process and those that it starts.

    Args:   share: rank and world size, where other processes do the rest of it at the same time.
    Raises: UserError where the records on disk come of another number type or kind of device.
    """
    name = f"process-{socket.gethostname()}-{os.getpid()}"
    writer = LedgerWriter(out, job.schema, own_folder=name if share else None)
    with job.load(num_processes) as rater:
        limit = tokens_of_a_batch(job.config, rater.facts.device)
        done = WorkDone(facts=rater.facts, batch_tokens=limit, world_size=share[1] if share else 1)
        for other, theirs in _read_processes(out).items():
            _refuse_another_kind(done.facts, theirs.facts, out / PARTS / other)
        _write_process(out, name, done)
        started = time.monotonic()
        measured = job.do(rater, writer, tracker, share or (0, 1))
        seconds = time.monotonic() - started
        num_processes = rater.num_processes
    writer.flush()
    done = done.model_copy(
        update={**measured, "num_processes": num_processes, "seconds": seconds, "ended": time.time()}
    )
    _write_process(out, name, done)
    return done


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


def _last_launch(out: Path) -> WorkDone:
    """The newest process, with the numbers of all that have ended: speed is that of as many at the mean speed."""
    processes = sorted(_read_processes(out).values(), key=lambda done: done.ended)
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
            f"would be in {mine.dtype} on {mine.device}. Go on where it was begun, or set the model's dtype; to "
            f"begin anew, delete {file.parent}."
        )
