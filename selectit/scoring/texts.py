"""From rows of a pool to batches of tokenised rating texts, each distinct text once.

Rows are tokenised some thousand at a time, while raters work on the ones before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import LongRows, PoolConfig, RatingTemplate, ScoreStage, Turns
from selectit.data.index import PoolIndex
from selectit.data.pool import Row
from selectit.inference.batch import NO_RESPONSE_TOKEN, Batch, Text, batches, common_prefix
from selectit.scoring.ledger import TOO_LONG
from selectit.scoring.rated_rows import rated_rows
from selectit.scoring.written import written


def index_ratings(pool: PoolConfig, turns: Turns = "first") -> PoolIndex:
    """Rows whose instruction and response are equal have equal rating texts."""
    return PoolIndex(pool, lambda row: (row.instruction, row.response), lambda pool: rated_rows(pool, turns))


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
            made = rating_texts(tokenizer, groups, number, prompt, config.max_length, config.long_rows, config.template)
            texts = left(made)
            yield from batches(texts, common_prefix(texts), batch_tokens, pads)


def rating_texts(
    tokenizer: PreTrainedTokenizerBase,
    groups: Sequence[Sequence[Row]],
    number: int,
    prompt: str,
    max_length: int | None = None,
    long_rows: LongRows = "cut",
    template: RatingTemplate = "plain",
) -> list[Text]:
    """The texts under one rating prompt, tokenised whole.

    Args:
        groups: rows of equal text.
        number: of the prompt, for the keys.
        max_length: longer texts lose the end of their response, or are only marked where they are not to be cut or
            no token of the response is left.
    Raises: UserError, see `selectit.scoring.written.written`.
    """
    if not groups:
        return []
    pairs = [(group[0].instruction, group[0].response) for group in groups]
    places = max_length is not None and long_rows == "cut"
    texts = []
    for group, text in zip(groups, written(tokenizer, template, prompt, pairs, places), strict=True):
        ids, truncated, failure = text.ids, False, None
        limit = len(ids) if max_length is None else max_length
        if len(ids) > limit and long_rows == "cut":
            failure = NO_RESPONSE_TOKEN if limit - text.tail <= text.asked else None
            ids, truncated = ids[: max(limit - text.tail, 0)] + ids[len(ids) - text.tail :], True
        elif len(ids) > limit:
            failure = TOO_LONG
        keys = tuple((row.row_id, number) for row in group)
        texts.append(Text(keys, np.array(ids, dtype=np.int32), truncated, failure))
    return texts
