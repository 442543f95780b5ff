"""Tokenised texts, and the batches of them that one forward pass reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, Protocol, TypeVar

import numpy as np

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 16384
"""Tokens of one forward pass where the recipe does not say; docs/performance.md has what was measured."""
PACKED_PATH, PADDED_PATH, VLLM_PATH = "packed", "padded", "vllm"
"""What computes a rating, as finished ledgers name it: under other words none of their ratings would be reused."""
NO_RESPONSE_TOKEN = "no_response_token"
"""The prompt fills max_length, or the tokenizer drops the response's first character."""
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
class LossText(Text):
    """`scored` are the response tokens whose loss counts; none of them where the row has no loss."""

    scored: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))  # bool [num_tokens]
    failure: str | None = NO_RESPONSE_TOKEN
    """Why there is no loss, where no token is scored."""


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """What one forward pass, or one call of `generate`, reads: texts, or an evaluation's requests.

    `prefix` holds token ids with which every one of the items starts, and fewer than any of them has; it may
    be empty. Batches with the same prefix follow each other, so that it is computed once for all.
    """

    items: Sequence[Item]
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Of one batch; and what is saved or lost where it is not full."""

    rows: float
    tokens: float
    """Read in one forward pass, padding included and the shared prefix not."""
    cached_tokens: float = inf
    """Whose keys and values are held: prefix and new tokens count for every row."""
    shared_tokens: int = 0
    """What a forward pass for a shared prefix costs, in tokens read: it must save more."""
    step_tokens: int = 0
    """What one new token for a whole batch costs, in tokens read: more batches than needed take that much more."""


class HasIds(Protocol):
    @property
    def ids(self) -> Sequence[int] | np.ndarray: ...


Row = TypeVar("Row", bound=HasIds)


def cut(
    rows: Iterable[Row], limits: Limits, num_shared: int = 0, num_new: int = 0, pads: bool = True
) -> Iterator[list[Row]]:
    """Parts of rows within the limits; a row beyond them is alone.

    Args:
        rows: longest first, so that memory is found wanting at once.
        num_shared: first tokens of every row that are not read.
        num_new: tokens that are generated for each.
        pads: whether every row is read as long as the longest.
    """
    part: list[Row] = []
    own = 0  # tokens behind the shared ones
    for row in rows:
        num_rows, longest, own = len(part) + 1, len((part[0] if part else row).ids), own + len(row.ids) - num_shared
        read, held = num_rows * (longest - num_shared) if pads else own, num_rows * (longest + num_new)
        if part and (num_rows > limits.rows or read > limits.tokens or held > limits.cached_tokens):
            yield part
            part, own = [], len(row.ids) - num_shared
        part.append(row)
    if part:
        yield part


def num_tokens(batch: Batch[Text], pads: bool) -> int:
    lengths = [len(text.ids) for text in batch.items]
    return max(lengths) * len(lengths) if pads else sum(lengths) - len(lengths) * len(batch.prefix)


def batches(texts: Sequence[Text], prefix: tuple[int, ...], batch_tokens: int, pads: bool) -> Iterator[Batch[Text]]:
    """At most `batch_tokens` each, padding included.

    Args: pads: whether every text is read as long as the longest; then nothing is shared.
    """
    ordered = sorted(texts, key=lambda text: (-len(text.ids), text.keys))
    for part in cut(ordered, Limits(inf, batch_tokens), 0 if pads else len(prefix), pads=pads):
        yield Batch(part, prefix)


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
