"""From rows of a pool to batches of token ids whose losses are wanted, each distinct row once.

Rows are tokenised as training tokenises them (finetune/dataset.py), some thousand at a time, while raters work on
the ones before. Without its instruction, a response keeps the very token ids that it has behind it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import LossStage, PoolConfig
from selectit.data.conversations import as_conversation
from selectit.data.index import PoolIndex
from selectit.data.pool import Row
from selectit.data.turns import Message, texts_of
from selectit.inference.batch import Batch, LossText, batches, common_prefix
from selectit.templates import response_marker
from selectit.templates.form import BadRow, load_form

NO_TOKEN = np.zeros(1, dtype=bool)
ONLY_TEXT = 0
"""Second part of a text's key: a row has one text in a losses stage."""


def index_losses(pool: PoolConfig) -> PoolIndex:
    """Rows whose messages are equal have equal texts."""
    return PoolIndex(
        pool,
        lambda row: (
            part
            for m in row.messages
            for part in (m["role"], *_both_texts(m), "" if m.get("train", True) else "not trained on")
        ),
    )


def _both_texts(message: Message) -> tuple[str, str]:
    """A turn's content and its input, of which neither can pass for the other."""
    content, *inputs = texts_of(message)
    return content, "".join(inputs)


def loss_batches(
    tokenizer: PreTrainedTokenizerBase,
    config: LossStage,
    index: PoolIndex,
    done: np.ndarray,
    batch_tokens: int,
    pads: bool,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Everything that is not done. Rows with an input and rows without go apart, for a template may open them
    differently and so they share more tokens.

    Args: done: bool [num_rows]; batch_tokens, pads: as `batches` takes them; share: as `PoolIndex.groups` takes it.
    """
    for chunk in index.groups(done, share):
        for with_input in (False, True):
            chosen = [group for group in chunk if any(len(texts_of(m)) > 1 for m in group[0].messages) == with_input]
            texts = loss_texts(tokenizer, config, chosen)
            yield from batches(texts, common_prefix(texts), batch_tokens, pads)


def loss_texts(
    tokenizer: PreTrainedTokenizerBase, config: LossStage, groups: Sequence[Sequence[Row]]
) -> list[LossText]:
    """Args: groups: rows of equal messages, usable ones only."""
    form = load_form(config.template, tokenizer)
    opening = _opening(tokenizer, config)
    texts = []
    for group in groups:
        conversation = as_conversation(group[0].row_id, group[0].messages, config.template)
        keys = tuple((other.row_id, ONLY_TEXT) for other in group)
        try:
            row = form.encode(conversation.messages)
        except BadRow as fault:
            texts.append(LossText(keys, np.array([form.end_id], dtype=np.int32), failure=fault.kind, scored=NO_TOKEN))
            continue
        limit = config.max_length or len(row.input_ids)
        ids = row.input_ids[:limit]
        scored = np.zeros(len(ids), dtype=bool)
        for start, end in row.spans:
            scored[start:end] = True
        scored[0] = False  # nothing stands before it that could predict it
        if config.text != "conditioned" and scored.any():
            bos = ids[:1] if ids[0] == tokenizer.bos_token_id else ids[:0]
            ids, scored = _without_instructions(
                ids, [(s, min(e, limit)) for s, e in row.spans if s < limit], bos, opening
            )
        texts.append(
            LossText(
                keys,
                ids.astype(np.int32),
                truncated=len(row.input_ids) > limit,
                scored=scored,
            )
        )
    return texts


def _opening(tokenizer: PreTrainedTokenizerBase, config: LossStage) -> np.ndarray:
    """int64, what stands before each response that is taken alone."""
    if config.text != "marker":
        return np.zeros(0, dtype=np.int64)
    return np.array(
        tokenizer(response_marker(config.template, tokenizer), add_special_tokens=False)["input_ids"], dtype=np.int64
    )


def _without_instructions(
    ids: np.ndarray, spans: Sequence[tuple[int, int]], bos: np.ndarray, opening: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The responses of a row behind one another, each behind its opening; and which tokens are theirs."""
    parts = [(bos, False), *itertools.chain(*(((opening, False), (ids[s:e], True)) for s, e in spans))]
    scored = np.concatenate([np.full(len(part), counts) for part, counts in parts])
    scored[0] = False
    return np.concatenate([part for part, _ in parts]), scored
