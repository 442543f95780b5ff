"""Batches that do not fit into memory are read in halves, and the size that fits is remembered."""

from __future__ import annotations

import ctypes
import multiprocessing

import numpy as np
import torch

from selectit.errors import UserError
from selectit.inference.batch import Batch, Rater, Text, num_tokens

OUT_OF_CPU_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "not enough memory: you tried to allocate")
"""What torch says on Linux and macOS, and on Windows: on CPU it has no error class of its own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_CPU_MEMORY)


class Halving:
    """Rates a batch that does not fit into memory in halves, and remembers the size that fits.

    Several processes share what one of them has learnt.
    """

    def __init__(self, rater: Rater) -> None:
        self._rater, self.name, self.pads = rater, rater.name, rater.pads
        self.reads_alone: bool = getattr(rater, "reads_alone", False)
        """Texts of different lengths are read one at a time, for padding would change their numbers."""
        self.fits = multiprocessing.RawValue(ctypes.c_double, float("inf"))  # tokens

    def rate(self, batch: Batch) -> np.ndarray:
        """Raises: UserError naming the row, where a single text does not fit."""
        size = num_tokens(batch, self.pads)
        if size <= self.fits.value or len(batch.texts) == 1:
            try:
                return self._rater.rate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch.texts) == 1:
                    raise _does_not_fit(batch.texts[0]) from error
                self.fits.value = min(self.fits.value, size / 2)
            torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors
        half = len(batch.texts) // 2
        return np.concatenate(
            [self.rate(Batch(part, batch.prefix)) for part in (batch.texts[:half], batch.texts[half:])]
        )


def _does_not_fit(text: Text) -> UserError:
    row_id, prompt = text.keys[0]
    return UserError(
        f"row {row_id}: its text under rating prompt {prompt + 1} has {len(text.ids)} tokens and does not fit into "
        f"memory, not even alone; what is scored is kept. Set score.max_length below {len(text.ids)} (score.long_rows "
        "says whether such rows are cut or skipped), free memory, or on a CPU set score.num_processes to 1."
    )
