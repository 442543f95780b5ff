"""Several processes that answer batches: forked ones with a thread each on a CPU, one for each GPU.

They compute and nothing else; answers come back to the parent. Batches with the same prefix go to the same
process where possible, so that each prefix is computed once.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import torch

from selectit.evaluate.answerer import Answerer
from selectit.evaluate.requests import Answer, Batch, Ids

BATCHES_PER_PROCESS = 3
"""Fewer batches than this for each process do not pay for its start."""
PR_SET_PDEATHSIG = 1


def processes_for(num_batches: int, device: torch.device, wanted: int | None) -> int:
    """Args:
    num_batches: of the whole benchmark, done ones too, so that a restarted run takes as many.
    wanted: what the user asks for; None: one per GPU, or per thread that torch would use, where the work is enough.
    """
    if device.type == "cuda":
        return wanted or torch.cuda.device_count()  # always the same: they stay loaded between benchmarks
    if device.type != "cpu" or sys.platform != "linux":  # elsewhere a fork of a process with threads is not safe
        return 1
    return wanted or max(1, min(torch.get_num_threads(), num_batches // BATCHES_PER_PROCESS))


class Workers:
    """Processes that stay until they are closed or one of them fails."""

    def __init__(self, make: Callable[[int], Answerer], num_processes: int, start: Literal["fork", "spawn"]) -> None:
        """Args: make: gives process number n its model; called there. With `spawn` it must be picklable."""
        context: Any = multiprocessing.get_context(start)
        self.num_processes = num_processes
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(num_processes):
            mine, theirs = context.Pipe()
            self._connections.append(mine)
            inherited = list(self._connections) if start == "fork" else []
            process = context.Process(target=_work, args=(make, number, theirs, inherited, os.getpid()), daemon=True)
            with warnings.catch_warnings():  # Python warns of threads; the child uses none of them, nor their locks
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            self._processes.append(process)
            theirs.close()

    @property
    def open(self) -> bool:
        return bool(self._processes)

    def answer(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, list[Answer]]]:
        """Each batch with its answers, in the order in which they come.

        Raises: what answering raises; RuntimeError where a process was killed.
        """
        waiting = _Waiting(batches)
        pending: dict[Connection, deque[Batch]] = {connection: deque() for connection in self._connections}
        last: dict[Connection, Ids | None] = dict.fromkeys(self._connections)
        try:
            for connection in [*self._connections, *self._connections]:  # one in work, one waiting behind it
                _send(connection, waiting, pending, last)
            while busy := [connection for connection, sent in pending.items() if sent]:
                for ready in wait(busy):
                    connection = next(one for one in busy if one is ready)
                    answers = _receive(connection)
                    batch = pending[connection].popleft()
                    _send(connection, waiting, pending, last)
                    yield batch, answers
        except BaseException:  # also where the rest is not wanted, or its answers would be the next call's
            self.close()
            raise

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join()
        self._connections, self._processes = [], []


class _Waiting:
    """Batches that nobody has yet, by prefix."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._queues: dict[Ids, deque[Batch]] = {}
        for batch in batches:
            self._queues.setdefault(batch.prefix, deque()).append(batch)
        self._untouched = deque(self._queues)

    def take(self, last: Ids | None) -> Batch | None:
        """One with the same prefix as the last, else of a prefix that no process has, else of what is most left."""
        if last is None or not self._queues[last]:
            if self._untouched:
                last = self._untouched.popleft()
            else:
                last = max(self._queues, key=lambda prefix: len(self._queues[prefix]), default=None)
        if last is None or not self._queues[last]:
            return None
        return self._queues[last].popleft()


def _send(
    connection: Connection,
    waiting: _Waiting,
    pending: dict[Connection, deque[Batch]],
    last: dict[Connection, Ids | None],
) -> None:
    if (batch := waiting.take(last[connection])) is not None:
        connection.send(batch)
        pending[connection].append(batch)
        last[connection] = batch.prefix


def _receive(connection: Connection) -> list[Answer]:
    try:
        found = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        raise RuntimeError(
            "an evaluation process was killed, most likely for memory; what is answered is kept. "
            "Run again with evaluate.num_processes=1 or a smaller evaluate.batch_size."
        ) from error
    if isinstance(found, BaseException):
        raise found
    return found


def _work(
    make: Callable[[int], Answerer], number: int, connection: Connection, inherited: list[Connection], parent: int
) -> None:
    """Answer what comes until the parent closes its end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # or a killed parent's lock would stay held
    if os.getppid() != parent:
        return
    for end in inherited:
        end.close()
    torch.set_num_threads(1)
    answerer: Answerer | None = None
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        try:
            answerer = answerer or make(number)
            found: Any = answerer.answer(batch)
        except Exception as error:
            found = error
        connection.send(found)
