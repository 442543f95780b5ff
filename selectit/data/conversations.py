"""A subset's rows as conversations, in the form that a template takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.data.jsonl import read_jsonl
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
    return Conversation(row_id, tuple(_join_input(message, input_separator(template)) for message in messages))


def _join_input(message: dict[str, Any], separator: str) -> dict[str, Any]:
    content = message["content"] + (separator + message["input"] if message.get("input") else "")
    return {**{key: value for key, value in message.items() if key != "input"}, "content": content}
