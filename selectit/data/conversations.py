"""A subset's rows as conversations, in the form that a template takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.data.jsonl import read_jsonl
from selectit.data.turns import words
from selectit.errors import UserError
from selectit.templates import input_separator


@dataclass(frozen=True)
class Conversation:
    row_id: str
    messages: tuple[dict[str, Any], ...]
    """Each with `role` (system, user, assistant) and `content`; `train: False` where a turn is not trained on."""


def read_conversations(path: Path, template: str) -> list[Conversation]:
    """The rows of a messages.jsonl, in its order; an Alpaca row's input is joined to its instruction.

    Raises: UserError where the file holds no row.
    """
    rows = read_jsonl(path)
    if not rows:
        raise UserError(f"{path} holds no row, so there is nothing to train on; raise the arm's select.ratio")
    return [as_conversation(row["row_id"], row["messages"], template) for row in rows]


def as_conversation(row_id: str, messages: Sequence[dict[str, Any]], template: str) -> Conversation:
    """A row's messages as the template takes them: an Alpaca row's input joined to its instruction."""
    separator = input_separator(template)
    joined = ({**message, "content": words(message, separator)} for message in messages)
    return Conversation(row_id, tuple({k: v for k, v in message.items() if k != "input"} for message in joined))
