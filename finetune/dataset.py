"""A subset as training rows: token ids, and labels on the assistant turns and their end tokens only.

Reads messages.jsonl of a select artifact. The mask comes from the template's `{% generation %}` markers;
rows that are too long lose their end, are counted, and are refused where too many are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.templates import INPUT_SEPARATOR, chat_template

MESSAGES_FILE = "messages.jsonl"
IGNORED_LABEL = -100
GENERATION_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
NUM_NAMED_ROWS = 10


@dataclass(frozen=True)
class Conversation:
    row_id: str
    messages: tuple[dict[str, str], ...]
    """Each with `role` (system, user, assistant) and `content`."""


@dataclass(frozen=True)
class TrainingRow:
    row_id: str
    input_ids: np.ndarray
    """int64 [num_tokens]."""
    labels: np.ndarray
    """int64 [num_tokens]; the token id where it is trained on, else -100."""


@dataclass(frozen=True)
class TrainingSet:
    rows: tuple[TrainingRow, ...]
    num_truncated: int

    @property
    def num_tokens(self) -> int:
        return sum(len(row.input_ids) for row in self.rows)

    @property
    def num_trained_tokens(self) -> int:
        return sum(int((row.labels != IGNORED_LABEL).sum()) for row in self.rows)


def read_conversations(path: Path, template: str) -> list[Conversation]:
    """The rows of a messages.jsonl, in its order; an Alpaca row's input is joined to its instruction.

    Raises: UserError where the file holds no row.
    """
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    if not rows:
        raise UserError(f"{path} holds no row, so there is nothing to train on; raise the arm's select.ratio")
    return [as_conversation(row["row_id"], row["messages"], template) for row in rows]


def as_conversation(row_id: str, messages: Sequence[dict[str, str]], template: str) -> Conversation:
    """A row's messages as the template takes them: an Alpaca row's input joined to its instruction."""
    return Conversation(row_id, tuple(_join_input(message, INPUT_SEPARATOR[template]) for message in messages))


def _join_input(message: dict[str, str], separator: str) -> dict[str, str]:
    content = message["content"] + (separator + message["input"] if message.get("input") else "")
    return {"role": message["role"], "content": content}


def tokenize(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, finetune: FinetuneConfig
) -> TrainingSet:
    """Apply the template, mask and truncate.

    Raises: UserError where the template has no generation markers, where a row is left without a label,
        and where more than `max_truncated_share` of the rows are longer than `max_length`.
    """
    template = training_template(finetune.template, tokenizer)
    whole = [tokenize_row(conversation, tokenizer, template) for conversation in conversations]
    for conversation, row in zip(conversations, whole, strict=True):
        _refuse_lost_turns(conversation, row)
    limit = finetune.max_length
    num_truncated = sum(len(row.input_ids) > limit for row in whole)
    rows = tuple(TrainingRow(row.row_id, row.input_ids[:limit], row.labels[:limit]) for row in whole)
    _refuse_rows_without_label(rows, finetune)
    if num_truncated > finetune.max_truncated_share * len(rows):
        raise UserError(
            f"{num_truncated} of {len(rows)} rows are longer than finetune.max_length {limit} and would lose their "
            f"end ({num_truncated / len(rows):.1%}; finetune.max_truncated_share allows "
            f"{finetune.max_truncated_share:.1%}). The longest has {max(len(row.input_ids) for row in whole)} tokens; "
            "raise finetune.max_length, or finetune.max_truncated_share where the loss is meant."
        )
    return TrainingSet(rows, num_truncated)


def training_template(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The Jinja text, with markers around what is trained on.

    Raises: UserError where it has none: the loss would cover the prompts as well.
    """
    template = chat_template(name, tokenizer)
    if not GENERATION_MARKER.search(template):
        raise UserError(
            f"finetune.template '{name}': the chat template of {tokenizer.name_or_path} does not mark what is trained "
            "on ({% generation %} ... {% endgeneration %}), so the loss would cover the prompts too. Set "
            "finetune.template to alpaca or llmzoo, or put the markers around the assistant's content and its end "
            "token in the tokenizer's chat template."
        )
    return template


def tokenize_row(conversation: Conversation, tokenizer: PreTrainedTokenizerBase, template: str) -> TrainingRow:
    """The whole row, labelled on its assistant turns as far as the tokenizer finds them.

    Args: template: as `training_template` gives it.
    """
    encoded: Any = tokenizer.apply_chat_template(
        list(conversation.messages),
        chat_template=template,
        return_dict=True,
        return_assistant_tokens_mask=True,
        tokenizer_kwargs={"verbose": False},  # its warning about long rows; they are counted here
    )
    input_ids = np.asarray(encoded["input_ids"], dtype=np.int64)
    trained = np.asarray(encoded["assistant_masks"], dtype=np.int64)
    return TrainingRow(conversation.row_id, input_ids, np.where(trained == 1, input_ids, IGNORED_LABEL))


def labelled_spans(labels: np.ndarray) -> list[tuple[int, int]]:
    """First and last-plus-one position of each run of labels."""
    edges = np.flatnonzero(np.diff(labels != IGNORED_LABEL, prepend=False, append=False))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def num_turns(conversation: Conversation) -> int:
    """Assistant turns, each of which should be a run of labels.

    transformers leaves a turn, and all after it, unmasked where its first character became no token.
    """
    return sum(message["role"] == "assistant" for message in conversation.messages)


def _refuse_lost_turns(conversation: Conversation, row: TrainingRow) -> None:
    wanted, found = num_turns(conversation), len(labelled_spans(row.labels))
    if found < wanted:
        raise UserError(
            f"row {conversation.row_id}: only {found} of its {wanted} assistant turns carry a label. Its "
            "response starts with a character that the tokenizer drops, or the chat template does not mark every "
            "assistant turn; correct the row or the template."
        )


def _refuse_rows_without_label(rows: Sequence[TrainingRow], finetune: FinetuneConfig) -> None:
    bare = [row.row_id for row in rows if (row.labels == IGNORED_LABEL).all()]
    if not bare:
        return
    named = ", ".join(bare[:NUM_NAMED_ROWS]) + (" ..." if len(bare) > NUM_NAMED_ROWS else "")
    raise UserError(
        f"{len(bare)} of {len(rows)} rows have nothing to train on: no assistant turn, or a prompt that alone fills "
        f"finetune.max_length {finetune.max_length}. Row ids: {named}. Raise finetune.max_length or take these rows "
        "out of the pool."
    )
