"""Rating on CPU in several single-threaded processes, which beat as many threads in one.

The processes are forked, so that they share the model's memory and start in milliseconds. They compute and
nothing else: results come back to the parent, which writes them down.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch

from selectit.scoring.rater import Batch, Rater

BATCHES_PER_PROCESS = 3
"""Fewer batches than this for each process do not pay for its start (docs/performance.md)."""
PR_SET_PDEATHSIG = 1


def processes_for(batches: Iterator[Batch], device: torch.device, wanted: int | None) -> tuple[int, Iterator[Batch]]:
    """How many processes to use, and the same batches.

    Args: wanted: what the user asks for; None: one per thread that torch would use, where the work is enough.
    """
    if device.type != "cpu" or sys.platform != "linux":  # elsewhere a fork of a process with threads is not safe
        return 1, batches
    if wanted is not None:
        return wanted, batches
    most = torch.get_num_threads()
    first = list(itertools.islice(batches, most * BATCHES_PER_PROCESS))
    return max(1, min(most, len(first) // BATCHES_PER_PROCESS)), itertools.chain(first, batches)


def rate_all(rater: Rater, batches: Iterable[Batch], num_processes: int) -> Iterator[tuple[Batch, np.ndarray]]:
    """Each batch with its probabilities, in the order in which they come.

    Raises: what the rater raises; RuntimeError where a process was killed.
    """
    if num_processes == 1:
        for batch in batches:
            yield batch, rater.rate(batch)
        return
    with _workers(rater, num_processes) as connections:
        waiting = iter(batches)
        pending: dict[Connection, list[Batch]] = {connection: [] for connection in connections}
        for _, connection in itertools.product(range(2), connections):  # one in work, one waiting behind it
            _send(connection, waiting, pending)
        while busy := [connection for connection, sent in pending.items() if sent]:
            for connection in wait(busy):
                assert isinstance(connection, Connection)
                result = _receive(connection)
                batch = pending[connection].pop(0)
                _send(connection, waiting, pending)
                yield batch, result


def _send(connection: Connection, waiting: Iterator[Batch], pending: dict[Connection, list[Batch]]) -> None:
    if (batch := next(waiting, None)) is not None:
        connection.send(batch)
        pending[connection].append(batch)


def _receive(connection: Connection) -> np.ndarray:
    try:
        result = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        raise RuntimeError(
            "a scoring process was killed, most likely for memory; what is scored is kept. "
            "Run again with score.num_processes=1 or a smaller score.batch_tokens."
        ) from error
    if isinstance(result, BaseException):
        raise result
    return result


@contextmanager
def _workers(rater: Rater, num_processes: int) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("fork")
    ours: list[Connection] = []
    processes = []
    try:
        for _ in range(num_processes):
            mine, theirs = context.Pipe()
            ours.append(mine)
            process = context.Process(target=_work, args=(rater, theirs, list(ours), os.getpid()), daemon=True)
            with warnings.catch_warnings():  # Python warns of threads; the child uses none of them, nor their locks
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            processes.append(process)
            theirs.close()
        yield ours
    finally:
        for connection in ours:
            connection.close()
        for process in processes:
            process.terminate()
            process.join()


def _work(rater: Rater, connection: Connection, parents: list[Any], parent: int) -> None:
    """Rate what comes until the parent closes its end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # or a killed parent's lock would stay held
    if os.getppid() != parent:
        return
    for end in parents:
        end.close()
    torch.set_num_threads(1)
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        try:
            result: Any = rater.rate(batch)
        except Exception as error:
            result = error
        connection.send(result)
