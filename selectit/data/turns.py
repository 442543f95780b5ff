"""What a row's owner wrote next to its turns: system prompts, earlier turns, tools, and turns that are not trained on.

Rating, losses and training read a row from the messages that are made here. What cannot be read yet makes the row a bad
row, by kind, so that nothing is dropped unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]
"""`role` and `content`; `input` of an Alpaca row's own user turn; `train: False` of a turn that is not trained on."""

TOOLS = ("tools", "functions")
"""Columns that describe what a model may call."""
NOTHING = (None, "", "[]", "{}")


def texts_of(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a turn: its content, and behind it the input of an Alpaca row that has one."""
    return (message["content"], message["input"]) if message.get("input") else (message["content"],)


def words(message: Mapping[str, Any], separator: str = "\n") -> str:
    """The words of a turn as one text. Args: separator: what stands in front of an Alpaca row's input."""
    return separator.join(texts_of(message))


def around(row: Mapping[str, Any], messages: Sequence[Message]) -> tuple[list[Message], str | None]:
    """The messages with the row's own `system` and `history` in front.

    Returns: the messages, and why the row cannot be used; None where it can.
    """
    if any(row.get(name) not in NOTHING and row.get(name) != [] and row.get(name) != {} for name in TOOLS):
        return list(messages), "tools_not_read"
    whole, failure = list(messages), None
    history = row.get("history")
    if history not in NOTHING and history != []:
        pairs = history if isinstance(history, list) else []
        if not pairs or not all(_is_pair(pair) for pair in pairs):
            return whole, "history_not_read"
        roles = ("user", "assistant")
        earlier = [{"role": roles[at], "content": pair[at]} for pair in pairs for at in (0, 1)]
        whole = [*earlier, *whole]
    system = row.get("system")
    if system not in NOTHING:
        if not isinstance(system, str):
            return whole, "system_not_read"
        own = next((message["content"] for message in whole if message["role"] == "system"), None)
        if own is None:
            whole = [{"role": "system", "content": system}, *whole]
        elif own != system:
            failure = "two_system_prompts"
    return whole, failure


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def trained(turn: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether a turn is trained on, by its `weight` (0 or 1) and its `train`; and why that cannot be read."""
    weight, train = turn.get("weight"), turn.get("train")
    if weight not in (None, 0, 1):
        return True, "weight_not_read"
    if train not in (None, True, False):
        return True, "train_not_read"
    return weight != 0 and train is not False, None


def rated_pair(messages: Sequence[Message], last: bool) -> tuple[str, str, str | None]:
    """The instruction and the response that are rated.

    The response is the first answer to a user that is trained on (`last`: the last one, an Alpaca row's own). The
    instruction is what stands in front of it: the system prompt and the turns from the first user turn on.

    Returns: both texts, and why there is no such answer.
    """
    answers = _answers(messages)
    is_answered = any(message["role"] == "assistant" for message in messages[_first_user(messages) :])
    if not answers:
        users = [words(message) for message in messages if message["role"] == "user"]
        return "\n".join(users[:1]), "", "no_trained_turn" if is_answered else None
    return *_pair(messages, answers[-1] if last else answers[0]), None


def answer_pairs(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Every answer to a user that is trained on, each with what stands in front of it as its instruction."""
    return [_pair(messages, at) for at in _answers(messages)]


def _answers(messages: Sequence[Message]) -> list[int]:
    return [
        at
        for at, message in enumerate(messages)
        if message["role"] == "assistant" and at > _first_user(messages) and message.get("train", True)
    ]


def _first_user(messages: Sequence[Message]) -> int:
    return next((at for at, message in enumerate(messages) if message["role"] == "user"), len(messages))


def _pair(messages: Sequence[Message], at: int) -> tuple[str, str]:
    first_user = _first_user(messages)
    asked = [words(message) for message in messages[first_user:at] if message["role"] == "user"]
    if not any(text.strip() for text in asked):
        return "", messages[at]["content"]
    before = [*(m for m in messages[:first_user] if m["role"] == "system"), *messages[first_user:at]]
    return "\n".join(words(message) for message in before), messages[at]["content"]
