"""Which rows a training reads: those of the subset, those that are held out, and general ones that are mixed in.

Reads messages.jsonl, and the pools of `finetune.validation` and `finetune.replay`. No row is in both training and
validation, in whatever words its id is written: what is held out is compared by its turns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selectit.config import FinetuneConfig, PoolConfig, ValidationFile, ValidationSplit
from selectit.data.conversations import Conversation, as_conversation, read_conversations
from selectit.data.jsonl import read_jsonl
from selectit.data.pool import iter_pool
from selectit.data.row_ids import uniform_number
from selectit.errors import UserError

REPLAY = "replay"
VALIDATION = "validation"


@dataclass(frozen=True)
class TrainingRows:
    trained: tuple[Conversation, ...]
    """The subset's, without what is held out, and then the replayed ones."""
    validation: tuple[Conversation, ...] = ()
    num_replayed: int = 0
    num_also_in_validation: int = 0
    """Rows that were left out of the training since the same turns are held out."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Row id -> selection score, with order curriculum."""


def read_rows(messages: Path, finetune: FinetuneConfig) -> TrainingRows:
    """Raises: UserError where a pool cannot be read or is too small, or nothing is left to train on."""
    subset = read_conversations(messages, finetune.template)
    held_out = _held_out(subset, finetune)
    kept = [conversation for conversation in subset if _turns(conversation) not in held_out]
    replayed: list[Conversation] = []
    if (replay := finetune.replay) is not None:
        wanted = round(len(kept) * replay.share / (1 - replay.share))
        general = [c for c in _read_pool(replay, finetune.template, f"{REPLAY}:") if _turns(c) not in held_out]
        if len(general) < wanted:
            raise UserError(
                f"finetune.replay.share {replay.share:g} takes {wanted} general rows next to {len(kept)} of the "
                f"subset, and {replay.path} has {len(general)} that are not held out; lower the share or name a larger "
                "pool"
            )
        replayed = _drawn(general, wanted, REPLAY, replay.seed)
    if not kept:
        raise UserError(
            f"finetune.validation holds out all {len(subset)} rows of the subset, so nothing is left to train on; "
            "lower its share or num_rows, or name another file"
        )
    return TrainingRows(
        trained=(*kept, *replayed),
        validation=tuple(held_out.values()),
        num_replayed=len(replayed),
        num_also_in_validation=len(subset) - len(kept) - _num_split(len(subset), finetune),
        scores=_read_scores(messages) if finetune.order == "curriculum" else {},
    )


def check_pools(finetune: FinetuneConfig) -> None:
    """Raises: UserError where a pool of `validation` or `replay` cannot be read."""
    for pool in (finetune.validation, finetune.replay):
        if isinstance(pool, PoolConfig):
            _read_pool(pool, finetune.template)


def _held_out(subset: Sequence[Conversation], finetune: FinetuneConfig) -> dict[str, Conversation]:
    """By their turns, each once."""
    validation = finetune.validation
    found: Sequence[Conversation] = ()
    if isinstance(validation, ValidationFile):
        found = _read_pool(validation, finetune.template, f"{VALIDATION}:")
    elif isinstance(validation, ValidationSplit):
        found = _drawn(subset, _num_split(len(subset), finetune), VALIDATION, validation.seed)
    return {_turns(conversation): conversation for conversation in found}


def _num_split(num_rows: int, finetune: FinetuneConfig) -> int:
    """Rows of the subset that are drawn for validation; at least one where a share is asked for."""
    validation = finetune.validation
    if not isinstance(validation, ValidationSplit):
        return 0
    wanted = validation.num_rows or max(1, round((validation.share or 0) * num_rows))
    return min(wanted, num_rows)


def _drawn(rows: Sequence[Conversation], number: int, purpose: str, seed: int) -> list[Conversation]:
    """Without replacement, in the order of the rows; a larger draw with the same seed holds every smaller one."""
    numbers = {row.row_id: uniform_number(purpose, seed, row.row_id) for row in rows}
    chosen = set(sorted(numbers, key=lambda row_id: numbers[row_id])[:number])
    return [row for row in rows if row.row_id in chosen]


def _read_pool(pool: PoolConfig, template: str, prefix: str = "") -> list[Conversation]:
    usable = (row for row in iter_pool(pool) if row.failure is None)
    return [as_conversation(f"{prefix}{row.row_id}", row.messages, template) for row in usable]


def _turns(conversation: Conversation) -> str:
    return json.dumps([[message["role"], message["content"]] for message in conversation.messages])


def _read_scores(messages: Path) -> dict[str, float]:
    rows = read_jsonl(messages)
    if any("score" not in row for row in rows):
        raise UserError(f"finetune.order is curriculum, and {messages} holds no scores; selectit run selects with them")
    return {row["row_id"]: row["score"] for row in rows}
