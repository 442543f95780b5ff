"""Turns as their owner wrote them: roles, parts of contents, calls of tools, system prompts, history; what is rated.

Rating, losses and training read a row from the messages that are made here. What cannot be read yet makes the row a bad
row, by kind, so that nothing is dropped unseen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = dict[str, Any]
"""`role` (system, user, assistant, tool) and `content`; `input` of an Alpaca row's own user turn; `train: False` of a
turn that is not trained on; `call: True` of an assistant turn that only calls tools."""

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
    "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip
"""A turn's own name of its role -> ours."""
CALLS = ("function_call", "tool_call")
"""Names of the roles whose turns only call tools."""
TURN_KEYS = (("role", "content"), ("from", "value"))
UNREAD_KEYS = ("reasoning_content", "reasoning", "thinking", "images", "image", "audio", "audios", "videos")
"""Of a turn: they change what it says."""
NOTHING = (None, "", "[]", "{}")


class Unreadable(Exception):
    """A row that cannot be used.

    Args: kind: such as `unknown_role`, one for all rows that are bad in the same way; reason: in words, of this one.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def is_nothing(value: Any) -> bool:
    return value in NOTHING or value == [] or value == {}


def texts_of(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a turn: its content, and behind it the input of an Alpaca row that has one."""
    return (message["content"], message["input"]) if message.get("input") else (message["content"],)


def words(message: Mapping[str, Any], separator: str = "\n") -> str:
    """The words of a turn as one text. Args: separator: what stands in front of an Alpaca row's input."""
    return separator.join(texts_of(message))


def text_of(value: Any, column: str) -> str:
    """A column's text; null is an empty one.

    Raises: Unreadable for anything but text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable("not_text", f"'{column}' is {type(value).__name__} ({value!r:.60}); it must be text")
    return value


def turns_of(turns: Any, column: str, roles: Mapping[str, str]) -> list[Message]:
    """A list of turns as messages.

    Args:   roles: a turn's own name of its role -> ours.
    Raises: Unreadable, naming the turn.
    """
    if not isinstance(turns, list):
        raise Unreadable("not_turns", f"'{column}' is {type(turns).__name__}; it must be a list of turns")
    return [_turn(turn, f"{column}[{number}]", roles) for number, turn in enumerate(turns)]


def _turn(turn: Any, where: str, roles: Mapping[str, str]) -> Message:
    keys = next((keys for keys in TURN_KEYS if isinstance(turn, dict) and turn.get(keys[0]) is not None), None)
    if keys is None:
        raise Unreadable(
            "turn_without_role", f"{where} has no role; a turn has 'role' and 'content', or 'from' and 'value'"
        )
    role_key, text_key = keys
    named = turn[role_key]
    role = roles.get(named) if isinstance(named, str) else None
    if role is None:
        raise Unreadable(
            "unknown_role",
            f"{where}.{role_key} is '{named}'; known are {', '.join(roles)}. Name it in pool.roles (--roles), such as "
            f"assistant={named}",
        )
    for key in UNREAD_KEYS:
        if not is_nothing(turn.get(key)):
            raise Unreadable(f"{key}_not_read", f"{where}.{key} holds something that is not read")
    content, calls = turn.get(text_key), [json_of(call) for call in calls_of(turn, where)]
    if content is None and not calls:
        raise Unreadable("turn_without_text", f"{where} has no '{text_key}'")
    said = content_of(content, f"{where}.{text_key}")
    message: Message = {"role": role, "content": "\n".join([*([said] if said else []), *calls]) if calls else said}
    if role == "assistant":
        message |= {"call": True} if named in CALLS or (calls and not said.strip()) else {}
        message |= {} if _is_trained(turn, where) else {"train": False}
    return message


def content_of(content: Any, where: str) -> str:
    """A turn's text: as it stands, or that of its parts, concatenated."""
    if not isinstance(content, list):
        return text_of(content, where)
    texts = []
    for number, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise Unreadable("part_not_text", f"{where}[{number}] is of type {kind}; only text is read")
    return "".join(texts)


def calls_of(turn: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Each call of a tool in a turn's `tool_calls`, or its `function_call`: `name` and `arguments`."""
    calls = turn.get("tool_calls")
    calls = [] if is_nothing(calls) else calls
    calls = [turn["function_call"]] if not calls and not is_nothing(turn.get("function_call")) else calls
    if not isinstance(calls, list):
        raise Unreadable("calls_not_read", f"{where}.tool_calls is {type(calls).__name__}; it must be a list of calls")
    found = []
    for call in calls:
        function = call.get("function") or call if isinstance(call, dict) else {}
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Unreadable("calls_not_read", f"{where} calls a tool without a name")
        found.append({"name": function["name"], "arguments": _arguments(function.get("arguments"))})
    return found


def json_of(call: Mapping[str, Any]) -> str:
    """A call of a tool as it is read and trained on."""
    return json.dumps(call, ensure_ascii=False, default=str)


def _arguments(arguments: Any) -> Any:
    """Arguments are often JSON inside of text."""
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def with_context(messages: list[Message], system: Any, history: Any) -> list[Message]:
    """The messages with the row's own system prompt and its earlier turns in front.

    Raises: Unreadable where these are not text and pairs of text, or the messages have another system prompt.
    """
    whole = [*_earlier(history), *messages]
    if system in NOTHING:
        return whole
    if not isinstance(system, str):
        raise Unreadable("system_not_read", f"'system' is {type(system).__name__}; it must be text")
    own = next((message["content"] for message in whole if message["role"] == "system"), None)
    if own is not None and own != system:
        raise Unreadable("two_system_prompts", "its turns have a system prompt that is not the row's own")
    return whole if own is not None else [{"role": "system", "content": system}, *whole]


def _earlier(history: Any) -> Iterator[Message]:
    if is_nothing(history):
        return
    if not isinstance(history, list) or not all(_is_pair(pair) for pair in history):
        raise Unreadable("history_not_read", "'history' is not a list of pairs, each a question and its answer as text")
    for question, answer in history:
        yield {"role": "user", "content": question}
        yield {"role": "assistant", "content": answer}


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _is_trained(turn: Mapping[str, Any], where: str) -> bool:
    """Whether a turn is trained on, by its `weight` (0 or 1) and its `train`."""
    weight, train = turn.get("weight"), turn.get("train")
    if weight not in (None, 0, 1):
        raise Unreadable("weight_not_read", f"{where}.weight is {weight!r:.60}; it must be 0 or 1")
    if train not in (None, True, False):
        raise Unreadable("train_not_read", f"{where}.train is {train!r:.60}; it must be true or false")
    return weight != 0 and train is not False


def rated_pair(messages: Sequence[Message], last: bool) -> tuple[str, str, str | None]:
    """The instruction and the response that are rated.

    The response is the first answer to a user that is trained on (`last`: the last one, a pair's own); one that only
    calls tools is taken where there is no other. The instruction is what stands in front of it: the system prompt and
    the turns from the first user turn on.

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
    answers = [
        at
        for at, message in enumerate(messages)
        if message["role"] == "assistant" and at > _first_user(messages) and message.get("train", True)
    ]
    return [at for at in answers if not messages[at].get("call")] or answers


def _first_user(messages: Sequence[Message]) -> int:
    return next((at for at, message in enumerate(messages) if message["role"] == "user"), len(messages))


def _pair(messages: Sequence[Message], at: int) -> tuple[str, str]:
    first_user = _first_user(messages)
    asked = [words(message) for message in messages[first_user:at] if message["role"] == "user"]
    if not any(text.strip() for text in asked):
        return "", messages[at]["content"]
    before = [*(m for m in messages[:first_user] if m["role"] == "system"), *messages[first_user:at]]
    return "\n".join(words(message) for message in before), messages[at]["content"]
