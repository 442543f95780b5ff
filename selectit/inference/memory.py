"""Batches that do not fit into memory are read in halves, and the size that fits is remembered."""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch

from selectit.errors import UserError
from selectit.inference.batch import Batch

OUT_OF_CPU_MEMORY = ("DefaultCPUAllocator", "not enough memory: you tried to allocate")
"""In torch's message on Linux and macOS, and on Windows: on CPU it has no error class of its own for it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_CPU_MEMORY)


class Halving(Generic[Item, Result]):
    """Reads a batch that does not fit into memory in halves, and remembers the size that fits.

    Several processes share what one of them has learnt.
    """

    def __init__(
        self,
        read: Callable[[Batch[Item]], Iterable[Result]],
        num_tokens: Callable[[Batch[Item]], int],
        too_large: Callable[[Item], UserError],
        fits: Any = None,
    ) -> None:
        """Args:
        read: gives one result for each item.
        num_tokens: of a batch, padding included.
        too_large: the error for an item that does not fit, not even alone.
        fits: `fits` of another one, with which this one is to share it.
        """
        self._read, self._num_tokens, self._too_large = read, num_tokens, too_large
        self.fits = fits or multiprocessing.RawValue(ctypes.c_double, float("inf"))  # tokens

    def read(self, batch: Batch[Item]) -> list[Result]:
        """Raises: `too_large`, where a single item does not fit."""
        size = self._num_tokens(batch)
        if size <= self.fits.value or len(batch.items) == 1:
            try:
                return list(self._read(batch))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch.items) == 1:
                    raise self._too_large(batch.items[0]) from error
                self.fits.value = min(self.fits.value, size / 2)
            torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors
        half = len(batch.items) // 2
        parts = (batch.items[:half], batch.items[half:])
        return [result for part in parts for result in self.read(Batch(part, batch.prefix))]
