"""A subset as training rows: token ids, and labels on the assistant turns and their end tokens only.

What is labelled, `selectit.templates.form` finds. Rows that are too long lose their end, are counted, and are refused
where too many are; rows that cannot be labelled are left out or refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from selectit.config import BadRows, FinetuneConfig
from selectit.data.conversations import Conversation
from selectit.errors import UserError
from selectit.templates.form import BadRow, Encoded, Form

IGNORED_LABEL = -100
NUM_NAMED_ROWS = 5


@dataclass(frozen=True)
class TrainingRow:
    row_id: str
    input_ids: np.ndarray
    """int64 [num_tokens]."""
    labels: np.ndarray
    """int64 [num_tokens]; the token id where it is trained on, else -100."""


@dataclass(frozen=True)
class UnusableRow:
    """A row that cannot be labelled, and why."""

    row_id: str
    kind: str
    reason: str


@dataclass(frozen=True)
class TrainingSet:
    rows: tuple[TrainingRow, ...]
    num_truncated: int
    left_out: tuple[UnusableRow, ...] = ()
    control_tokens: Counter[str] = field(default_factory=Counter)
    """Special tokens that stood in the rows' own words, and were read as plain text."""

    @property
    def num_tokens(self) -> int:
        return sum(len(row.input_ids) for row in self.rows)

    @property
    def num_trained_tokens(self) -> int:
        return sum(int((row.labels != IGNORED_LABEL).sum()) for row in self.rows)


def tokenize(
    conversations: Sequence[Conversation],
    form: Form,
    finetune: FinetuneConfig,
    bad_rows: BadRows = "refuse",
) -> TrainingSet:
    """Apply the template, mask and truncate.

    Args:   bad_rows: what becomes of rows that cannot be labelled.
    Raises: UserError where such rows are refused or no other is left, and where more than
        `max_truncated_share` of the rows are longer than `max_length`.
    """
    limit = finetune.max_length
    whole, left_out = [], []
    control_tokens: Counter[str] = Counter()
    for conversation in conversations:
        try:
            row, found = label(conversation, form, finetune)
        except BadRow as fault:
            left_out.append(UnusableRow(conversation.row_id, fault.kind, str(fault)))
            continue
        whole.append(row)
        control_tokens.update(found)
    if left_out and (bad_rows == "refuse" or not whole):
        raise UserError(unusable_rows_text(left_out, len(conversations)))
    num_truncated = sum(len(row.input_ids) > limit for row in whole)
    rows = tuple(TrainingRow(row.row_id, row.input_ids[:limit], row.labels[:limit]) for row in whole)
    if num_truncated > finetune.max_truncated_share * len(rows):
        raise UserError(
            f"{num_truncated} of {len(rows)} rows are longer than finetune.max_length {limit} and would lose their "
            f"end ({num_truncated / len(rows):.1%}; finetune.max_truncated_share allows "
            f"{finetune.max_truncated_share:.1%}). The longest has {max(len(row.input_ids) for row in whole)} tokens; "
            "raise finetune.max_length, or finetune.max_truncated_share where the loss is meant."
        )
    return TrainingSet(rows, num_truncated, tuple(left_out), control_tokens)


def label(conversation: Conversation, form: Form, finetune: FinetuneConfig) -> tuple[TrainingRow, tuple[str, ...]]:
    """The whole row, labelled on the assistant turns that are trained on, and the control tokens in its words.

    Raises: BadRow where it cannot be labelled, `max_length` leaves no label, or control tokens are refused.
    """
    encoded = form.encode(conversation.messages)
    if encoded.control_tokens and finetune.control_tokens == "refuse":
        named = ", ".join(dict.fromkeys(encoded.control_tokens))
        raise BadRow("control_token", f"its text holds {named}, and finetune.control_tokens is refuse")
    row = TrainingRow(conversation.row_id, encoded.input_ids, labels_of(encoded))
    if (row.labels[: finetune.max_length] == IGNORED_LABEL).all():
        raise BadRow(
            "nothing_to_train_on",
            "it has no assistant turn that is trained on, or its prompt alone fills finetune.max_length "
            f"{finetune.max_length}",
        )
    return row, encoded.control_tokens


def labels_of(encoded: Encoded) -> np.ndarray:
    """int64 [num_tokens], -100 outside the spans."""
    labels = np.full_like(encoded.input_ids, IGNORED_LABEL)
    for start, end in encoded.spans:
        labels[start:end] = encoded.input_ids[start:end]
    return labels


def unusable_rows_text(left_out: Sequence[UnusableRow], num_rows: int) -> str:
    """How many rows cannot be labelled, by kind, with the first of them and the cure."""
    kinds = Counter(row.kind for row in left_out)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    shown = "; ".join(f"row {row.row_id}: {row.reason}" for row in left_out[:NUM_NAMED_ROWS])
    more = " ..." if len(left_out) > NUM_NAMED_ROWS else ""
    return (
        f"{len(left_out)} of {num_rows} rows cannot be trained on ({counts}): {shown}{more}. Correct them or take them "
        "out of the pool, or set pool.bad_rows to exclude (--bad-rows exclude): they are then left out and named in "
        "the report."
    )
