"""Several processes that do the model's work: forked ones of one thread each on a CPU, one spawned for each GPU.

They compute and nothing else; results come back to the parent, which joins them by what they are of and writes
them down. On a CPU processes beat as many threads, share the model's memory and start in milliseconds.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

import torch

BATCHES_PER_PROCESS = 3
"""Fewer batches than this for each process do not pay for its start (docs/performance.md)."""
PR_SET_PDEATHSIG = 1

Start = Literal["fork", "spawn"]
Item = TypeVar("Item")
Result = TypeVar("Result")


def how_to_start(device: torch.device) -> Start:
    """CUDA does not survive a fork, so a process for a GPU loads its own copy of the model."""
    return "spawn" if device.type == "cuda" else "fork"


def most_processes(device: torch.device, wanted: int | None) -> int:
    """How many processes to use where there is work for all of them.

    Args: wanted: what the user asks for; None: one per GPU, or per thread that torch would use.
    """
    if device.type == "cuda":
        return wanted or torch.cuda.device_count()
    if device.type != "cpu" or sys.platform != "linux":  # elsewhere a fork of a process with threads is not safe
        return 1
    return wanted or torch.get_num_threads()


def processes_for(num_batches: int, device: torch.device, wanted: int | None) -> int:
    """How many processes to use for so many batches. On GPUs always the same: they stay loaded for what follows."""
    most = most_processes(device, wanted)
    if device.type == "cuda" or wanted is not None:
        return most
    return max(1, min(most, num_batches // BATCHES_PER_PROCESS))


def counted_processes(items: Iterator[Item], device: torch.device, wanted: int | None) -> tuple[int, Iterator[Item]]:
    """The same where the batches are still being made; and those batches."""
    first = list(itertools.islice(items, most_processes(device, wanted) * BATCHES_PER_PROCESS))
    return processes_for(len(first), device, wanted), itertools.chain(first, items)


def in_order(items: Iterator[Item]) -> Callable[[Item | None], Item | None]:
    """A `take` of `Workers.run` that hands out one after the other."""
    return lambda last: next(items, None)


class ModelWorkers(Generic[Item, Result]):
    """What a loaded model does with items in several processes: forks of this one on a CPU, or one for each GPU.

    They stay until it is closed.
    """

    def __init__(
        self,
        device: torch.device,
        do: Callable[[Item], Result],
        again: Callable[[int], Callable[[Item], Result]] | None,
        give_way: Callable[[], None],
        if_killed: str,
    ) -> None:
        """Args:
        device: of the model.
        do: the work, in forks of this process.
        again: gives the process of GPU n what does its work, from a copy of its own; picklable. None: no GPU has one.
        give_way: called before those start, for the first GPU is for one of them.
        if_killed: the error's text where a process dies.
        """
        self._device, self._do, self._again, self._give_way = device, do, again, give_way
        self._if_killed = if_killed
        self._workers: Workers[Item, Result] | None = None

    def run(self, take: Callable[[Item | None], Item | None], num_processes: int) -> Iterator[tuple[Item, Result]]:
        """As `Workers.run`."""
        if self._workers is None or not self._workers.open or self._workers.num_processes != num_processes:
            self.close()
            self._workers = self._start(num_processes)
        yield from self._workers.run(take)

    def _start(self, num_processes: int) -> Workers[Item, Result]:
        if how_to_start(self._device) == "fork":
            return Workers(lambda number: self._do, num_processes, "fork", self._if_killed)
        assert self._again is not None
        self._give_way()
        gc.collect()
        torch.cuda.empty_cache()
        return Workers(self._again, num_processes, "spawn", self._if_killed)

    def close(self) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None


class Workers(Generic[Item, Result]):
    """Processes that stay until they are closed or one of them fails."""

    def __init__(
        self, make: Callable[[int], Callable[[Item], Result]], num_processes: int, start: Start, if_killed: str
    ) -> None:
        """Args:
        make: gives process number n what does its work; called there. With `spawn` it must be picklable.
        if_killed: the error's text where a process dies.
        """
        context: Any = multiprocessing.get_context(start)
        self.num_processes, self._if_killed = num_processes, if_killed
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

    def run(self, take: Callable[[Item | None], Item | None]) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, in the order in which they come.

        Args:   take: the next item for a process, given the last one that it got; None: there is none left.
        Raises: what the work raises; RuntimeError where a process was killed.
        """
        pending: dict[Connection, deque[Item]] = {connection: deque() for connection in self._connections}
        last: dict[Connection, Item | None] = dict.fromkeys(self._connections)

        def send(connection: Connection) -> None:
            if (item := take(last[connection])) is not None:
                connection.send(item)
                pending[connection].append(item)
                last[connection] = item

        try:
            for connection in [*self._connections, *self._connections]:  # one in work, one waiting behind it
                send(connection)
            while busy := [connection for connection, sent in pending.items() if sent]:
                for ready in wait(busy):
                    connection = next(one for one in busy if one is ready)
                    result = self._receive(connection)
                    item = pending[connection].popleft()
                    send(connection)
                    yield item, result
        except BaseException:  # also where the rest is not wanted, or its results would be the next call's
            self.close()
            raise

    def _receive(self, connection: Connection) -> Result:
        try:
            found = connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise RuntimeError(self._if_killed) from error
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join()
        self._connections, self._processes = [], []


def _work(
    make: Callable[[int], Callable[[Any], Any]],
    number: int,
    connection: Connection,
    inherited: list[Connection],
    parent: int,
) -> None:
    """Do what comes until the parent closes its end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # or a killed parent's lock would stay held
    if os.getppid() != parent:
        return
    for end in inherited:
        end.close()
    torch.set_num_threads(1)
    do: Callable[[Any], Any] | None = None
    while True:
        try:
            item = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            do = do or make(number)
            found: Any = do(item)
        except Exception as error:
            found = error
        try:
            connection.send(found)
        except BrokenPipeError:  # the parent was stopped while this was worked on
            return
