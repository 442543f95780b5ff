"""Batches that do not fit into memory are read in halves, and the size that fits is remembered."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from selectit.errors import UserError
from selectit.inference.batch import Batch

OUT_OF_CPU_MEMORY = ("DefaultCPUAllocator", "not enough memory: you tried to allocate")
"""In torch's message on Linux and macOS, and on Windows: on CPU it has no error class of its own for it."""

Item = TypeVar("Item")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_CPU_MEMORY)


class Halving(Generic[Item]):
    """The size of batch that fits into memory, found by trying; several processes share what one of them has learnt.

    Used so that a reader's own loop reads each part:

        for part in halving.parts(batch):
            with part:
                results.extend(read(part.batch))
    """

    def __init__(
        self,
        num_tokens: Callable[[Batch[Item]], int],
        too_large: Callable[[Item], UserError],
        fits: Any = None,
    ) -> None:
        """Args:
        num_tokens: of a batch, padding included.
        too_large: the error for an item that does not fit, not even alone.
        fits: `fits` of another one, with which this one is to share it.
        """
        self._num_tokens, self._too_large = num_tokens, too_large
        self.fits = fits or multiprocessing.RawValue(ctypes.c_double, float("inf"))  # tokens

    def parts(self, batch: Batch[Item]) -> Iterator[BatchPart[Item]]:
        """The batch, or its items in their order in smaller ones where it does not fit.

        Raises: `too_large`, where a single item does not fit.
        """
        waiting = [batch]
        while waiting:
            batch = waiting.pop()
            size, half = self._num_tokens(batch), len(batch.items) // 2
            if size <= self.fits.value or not half:
                yield (part := BatchPart(batch))
                if part.lack is None:
                    continue
                if not half:
                    raise self._too_large(batch.items[0]) from part.lack
                part.lack = None  # its traceback holds the tensors
                self.fits.value = min(self.fits.value, size / 2)
                torch.cuda.empty_cache()
            waiting += [Batch(batch.items[half:], batch.prefix), Batch(batch.items[:half], batch.prefix)]


class BatchPart(Generic[Item]):
    """A batch to be read within `with`, which keeps an error for want of memory from whoever reads."""

    def __init__(self, batch: Batch[Item]) -> None:
        self.batch = batch
        self.lack: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if error is not None and is_out_of_memory(error):
            self.lack = error
        return self.lack is not None
