"""Tokenised texts, and the batches of them that one forward pass reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

Item = TypeVar("Item")
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
class Batch(Generic[Item]):
    """What one forward pass, or one call of `generate`, reads: texts, or an evaluation's requests.

    `prefix` holds token ids with which every one of the items starts, and fewer than any of them has; it may
    be empty. Batches with the same prefix follow each other, so that it is computed once for all.
    """

    items: Sequence[Item]
    prefix: tuple[int, ...] = ()


class Rater(Protocol):
    name: str
    pads: bool
    """Whether a batch costs its longest text times their number, or only the tokens behind the prefix."""

    def rate(self, batch: Batch[Text]) -> np.ndarray:
        """Softmax over the whole vocabulary in float32, at the rating tokens, after the last token of each text.

        Returns: float64 [len(batch.items), NUM_RATINGS].
        Raises:  what `is_out_of_memory` knows, where the batch does not fit the device.
        """


def num_tokens(batch: Batch[Text], pads: bool) -> int:
    lengths = [len(text.ids) for text in batch.items]
    return max(lengths) * len(lengths) if pads else sum(lengths) - len(lengths) * len(batch.prefix)


def batches(texts: Sequence[Text], prefix: tuple[int, ...], batch_tokens: int, pads: bool) -> Iterator[Batch[Text]]:
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


NO_RESPONSE_TOKEN = "no_response_token"
"""The prompt fills max_length, or the tokenizer drops the response's first character."""
