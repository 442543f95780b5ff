"""What rates: token ids of rating texts in, next-token probabilities of the ratings out.

Two paths stand behind `Rater`: the stock model, for every architecture, and the packed one, for models of
the LLaMA family. `make_rater` takes the packed one where it is known to give the same numbers.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from selectit.errors import UserError

Key = tuple[str, int]
"""(row id, number of the rating prompt): what results are joined by."""


@dataclass(frozen=True)
class Text:
    """A tokenised rating text. `keys` are all that it is the text of: equal texts are rated once."""

    keys: tuple[Key, ...]
    ids: np.ndarray  # int32 [num_tokens]
    truncated: bool = False
    failure: str | None = None
    """Why it is not to be rated, such as `too_long`; None where it is."""


@dataclass(frozen=True)
class Batch:
    """What one forward pass rates.

    `prefix` holds token ids with which every one of the texts starts, and fewer than any of them has; it may
    be empty. Batches of one rating prompt have the same prefix, so that a rater computes it once for all.
    """

    texts: Sequence[Text]
    prefix: tuple[int, ...] = ()


class Rater(Protocol):
    name: str
    pads: bool
    """Whether a batch costs its longest text times their number, or only the tokens behind the prefix."""

    def rate(self, batch: Batch) -> np.ndarray:
        """Softmax over the whole vocabulary in float32, at the rating tokens, after the last token of each text.

        Returns: float64 [len(batch.texts), NUM_RATINGS].
        Raises:  what `is_out_of_memory` knows, where the batch does not fit the device.
        """


def make_rater(model: PreTrainedModel, rating_ids: Sequence[int]) -> Rater:
    from selectit.scoring.packed import PackedRater, obstacle
    from selectit.scoring.stock import StockRater

    if obstacle(model) is None:
        return Halving(PackedRater(model, rating_ids))
    return Halving(StockRater(model, rating_ids))


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


def num_tokens(batch: Batch, pads: bool) -> int:
    lengths = [len(text.ids) for text in batch.texts]
    return max(lengths) * len(lengths) if pads else sum(lengths) - len(lengths) * len(batch.prefix)


def batches(texts: Sequence[Text], prefix: tuple[int, ...], batch_tokens: int, pads: bool) -> Iterator[Batch]:
    """Longest first, so that memory is found wanting at once; at most `batch_tokens` each, padding included."""
    batch: list[Text] = []
    size = 0  # tokens behind the prefix
    for text in sorted(texts, key=lambda t: (-len(t.ids), t.keys)):
        own = len(text.ids) - len(prefix)
        if batch and (len(batch[0].ids) * (len(batch) + 1) if pads else size + own) > batch_tokens:
            yield Batch(batch, prefix)
            batch, size = [], 0
        batch.append(text)
        size += own
    if batch:
        yield Batch(batch, prefix)


def common_prefix(texts: Sequence[Text]) -> tuple[int, ...]:
    """The token ids with which all texts start; at least one token of each text is left out of it.

    It is empty for a single text, which has nothing to share it with.
    """
    if len(texts) < 2:
        return ()
    prefix = min((text.ids for text in texts), key=len)[:-1]
    for text in texts:
        other = np.flatnonzero(text.ids[: len(prefix)] != prefix)
        if len(other):
            prefix = prefix[: other[0]]
    return tuple(prefix.tolist())
