"""From rows of a pool to batches of tokenised rating texts, each distinct text once.

Rows are tokenised some thousand at a time, while raters work on the ones before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import LongRows, PoolConfig, ScoreStage
from selectit.data import Row, iter_pool
from selectit.scoring.prompts import SUFFIX, rating_text
from selectit.scoring.rater import Batch, Key, Text, batches, common_prefix

CHUNK_ROWS = 4096
"""Rows that are tokenised and sorted by length together."""


def rating_rows(pool: PoolConfig) -> list[Row]:
    """The pool's rows with no more than rating needs of them: millions stay in memory while they are rated."""
    return [replace(row, messages=(), raw={}) for row in iter_pool(pool)]


def rating_batches(
    tokenizer: PreTrainedTokenizerBase,
    config: ScoreStage,
    rows: Sequence[Row],
    done: Collection[Key],
    batch_tokens: int,
    pads: bool,
    left: Callable[[list[Text]], list[Text]] = list,
) -> Iterator[Batch]:
    """Everything that is not done, prompt by prompt.

    Args:
        batch_tokens, pads: as `batches` takes them.
        left: those of the texts (all of one rating prompt) that must be rated; the others have an answer already.
    """
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.instruction, row.response), []).append(row)
    groups = list(alike.values())
    for number, prompt in enumerate(config.prompts):
        for start in range(0, len(groups), CHUNK_ROWS):
            chunk = groups[start : start + CHUNK_ROWS]
            texts = left(rating_texts(tokenizer, chunk, number, prompt, config.max_length, done, config.long_rows))
            yield from batches(texts, common_prefix(texts), batch_tokens, pads)


def rating_texts(
    tokenizer: PreTrainedTokenizerBase,
    groups: Sequence[Sequence[Row]],
    number: int,
    prompt: str,
    max_length: int | None = None,
    done: Collection[Key] = (),
    long_rows: LongRows = "cut",
) -> list[Text]:
    """The texts under one rating prompt that are not done, tokenised whole.

    Args:
        groups: rows of equal text.
        number: of the prompt, for the keys.
        max_length: longer texts lose the end of their response, or are only marked where they are not to be cut.
    """
    keys: dict[str, tuple[Key, ...]] = {}
    for group in groups:
        missing = tuple(key for row in group if (key := (row.row_id, number)) not in done)
        if missing:
            keys[rating_text(prompt, group[0].instruction, group[0].response)] = missing
    if not keys:
        return []
    encoded = tokenizer(list(keys), return_offsets_mapping=max_length is not None, verbose=False)
    texts = []
    for at, written in enumerate(keys):
        ids, truncated = encoded["input_ids"][at], False
        limit = len(ids) if max_length is None else max_length
        too_long = len(ids) > limit
        if too_long and long_rows == "cut":
            start = len(written) - len(SUFFIX)
            tail = sum(1 for _, end in encoded["offset_mapping"][at] if end > start)
            ids, truncated, too_long = ids[: limit - tail] + ids[len(ids) - tail :], True, False
        texts.append(Text(keys[written], np.array(ids, dtype=np.int32), truncated, too_long))
    return texts
