"""From rows of a pool to batches of tokenised rating texts, each distinct text once.

Rows are tokenised some thousand at a time, while raters work on the ones before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import LongRows, PoolConfig, ScoreStage
from selectit.data import Row
from selectit.scoring.ledger import NO_RESPONSE_TOKEN, TOO_LONG
from selectit.scoring.pool_index import PoolIndex
from selectit.scoring.prompts import SUFFIX, rating_text
from selectit.scoring.rater import Batch, Text, batches, common_prefix


def index_ratings(pool: PoolConfig) -> PoolIndex:
    """Rows whose instruction and response are equal have equal rating texts."""
    return PoolIndex(pool, lambda row: (row.instruction, row.response))


def rating_batches(
    tokenizer: PreTrainedTokenizerBase,
    config: ScoreStage,
    index: PoolIndex,
    done: np.ndarray,
    batch_tokens: int,
    pads: bool,
    left: Callable[[list[Text]], list[Text]] = list,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Everything that is not done, prompt by prompt.

    Args:
        done: bool [num_prompts, num_rows].
        batch_tokens, pads: as `batches` takes them.
        left: those of the texts (all of one rating prompt) that must be rated; the others have an answer already.
        share: as `PoolIndex.groups` takes it.
    """
    for number, prompt in enumerate(config.prompts):
        for groups in index.groups(done[number], share):
            texts = left(rating_texts(tokenizer, groups, number, prompt, config.max_length, config.long_rows))
            yield from batches(texts, common_prefix(texts), batch_tokens, pads)


def rating_texts(
    tokenizer: PreTrainedTokenizerBase,
    groups: Sequence[Sequence[Row]],
    number: int,
    prompt: str,
    max_length: int | None = None,
    long_rows: LongRows = "cut",
) -> list[Text]:
    """The texts under one rating prompt, tokenised whole.

    Args:
        groups: rows of equal text.
        number: of the prompt, for the keys.
        max_length: longer texts lose the end of their response, or are only marked where they are not to be cut or
            no token of the response is left.
    """
    if not groups:
        return []
    written = [rating_text(prompt, group[0].instruction, group[0].response) for group in groups]
    encoded = tokenizer(
        written,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=max_length is not None,
        split_special_tokens=True,  # <s> in a row's own words is text; what the tokenizer puts in front stays
        verbose=False,
    )
    texts = []
    for at, group in enumerate(groups):
        ids, truncated, failure = encoded["input_ids"][at], False, None
        limit = len(ids) if max_length is None else max_length
        if len(ids) > limit and long_rows == "cut":
            past = len(written[at]) - len(SUFFIX)
            offsets = encoded["offset_mapping"][at]
            tail = sum(1 for _, end in offsets if end > past)
            asked = sum(1 for _, end in offsets if end <= past - len(group[0].response))
            failure = NO_RESPONSE_TOKEN if limit - tail <= asked else None
            ids, truncated = ids[: max(limit - tail, 0)] + ids[len(ids) - tail :], True
        elif len(ids) > limit:
            failure = TOO_LONG
        keys = tuple((row.row_id, number) for row in group)
        texts.append(Text(keys, np.array(ids, dtype=np.int32), truncated, failure))
    return texts
