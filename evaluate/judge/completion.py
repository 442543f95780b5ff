"""The body of a judge's answer, a chat completion of the OpenAI format: every field is checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selectit.evaluate.judge.verdict import GAMES, verdict_of_game, verdict_of_logprobs, verdict_of_text

MOST_TOKENS = 2**40
"""A count of tokens above this is not one."""
_ROUNDING = 1e-3
"""By which a log-probability may exceed 0."""
_LEAST = -1e6
"""Stands for every log-probability below, whose exponential is 0 as well."""


class NotACompletion(Exception):
    """The body is not a chat completion: the endpoint is at fault."""


class NoVerdict(Exception):
    """A chat completion, in which no verdict can be read: the judge is at fault."""


@dataclass(frozen=True)
class Completion:
    text: str
    logprobs: Any
    """As it stands there."""
    why_no_text: str
    """Such as that the judge refused, or was cut off; else empty."""
    input_tokens: int | None
    output_tokens: int | None
    """None where the endpoint gives no count."""
    model: str
    """As the endpoint names it; empty where it does not."""


def read_completion(content: bytes) -> Completion:
    """Raises: NotACompletion with what stands where a completion should."""
    try:
        body = json.loads(content, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise NotACompletion("the endpoint's answer is not JSON") from None
    if not isinstance(body, dict):
        raise NotACompletion(f"the endpoint's answer is {_kind(body)}, not a chat completion")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        if error := body.get("error"):
            message = error.get("message") if isinstance(error, dict) else error
            raise NotACompletion(f"the endpoint's answer is an error: {str(message)[:200]}")
        raise NotACompletion(f"the endpoint's answer is not a chat completion: choices is {_kind(choices)}")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        at = "choices[0].message" if isinstance(choice, dict) else "choices[0]"
        found = message if isinstance(choice, dict) else choice
        raise NotACompletion(f"the endpoint's answer is not a chat completion: {at} is {_kind(found)}")
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        text=_text(message.get("content")),
        logprobs=choice.get("logprobs"),
        why_no_text=_why_no_text(choice, message),
        input_tokens=token_count(counts.get("prompt_tokens")),
        output_tokens=token_count(counts.get("completion_tokens")),
        model=body["model"] if isinstance(body.get("model"), str) else "",
    )


def read_verdict(completion: Completion, kind: str) -> float:
    """Args:    kind: logprobs, text or game.
    Returns: probability that what was shown second is better.
    Raises:  NoVerdict.
    """
    if kind != "logprobs":
        verdict = verdict_in(completion.text, kind)
        if verdict is None:
            why = f" ({completion.why_no_text})" if completion.why_no_text else ""
            raise NoVerdict(f"no verdict in the answer {completion.text[-60:]!r}{why}")
        return verdict
    top = _top(completion.logprobs)
    if top is None:
        why = completion.why_no_text or "set evaluate.judge.verdict to text"
        raise NoVerdict(f"the endpoint gives no log-probabilities ({why})")
    verdict = verdict_of_logprobs(top)
    if verdict is None:
        raise NoVerdict(f"neither m nor M among the most probable tokens of the answer {completion.text[:40]!r}")
    return verdict


def verdict_in(text: str, kind: str) -> float | None:
    return verdict_of_text(text) if kind == "text" else GAMES.get(verdict_of_game(text) or "")


def token_count(value: Any) -> int | None:
    """The value where it is a count, else None."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if is_count else None


def is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts; what a judge thought before it answered is not part of its answer."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise NotACompletion(f"the endpoint's answer is not a chat completion: message.content is {_kind(content)}")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("thinking", "reasoning"):
            continue
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in ("text", "output_text") or not isinstance(text, str):
            raise NotACompletion(
                "the endpoint's answer is not a chat completion: message.content has a part without text"
            )
        texts.append(text)
    return "".join(texts)


def _why_no_text(choice: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        return f"the judge refused: {refusal[:60]!r}"
    if choice.get("finish_reason") == "content_filter":
        return "stopped by the endpoint's content filter"
    if choice.get("finish_reason") == "length":
        return "cut off at evaluate.judge.max_tokens"
    return ""


def _top(logprobs: Any) -> list[dict[str, Any]] | None:
    """m and M among the most probable first tokens, {"token": ..., "logprob": ...}; None where none are listed at all.

    Raises: NoVerdict where the log-probability of m or M is not one, or one of them is listed twice.
    """
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    entries = first.get("top_logprobs") if isinstance(first, dict) else None
    if not isinstance(entries, list) or not entries:
        return None
    top: dict[str, float] = {}
    for entry in entries:
        token = entry.get("token") if isinstance(entry, dict) else None
        if not isinstance(token, str) or token not in ("m", "M"):
            continue
        logprob = entry.get("logprob")
        if not isinstance(logprob, int | float) or isinstance(logprob, bool) or not logprob <= _ROUNDING:  # or NaN
            raise NoVerdict(f"the log-probability of {token} is {str(logprob)[:40]!r}")
        if token in top:
            raise NoVerdict(f"the token {token} is listed twice among the most probable ones")
        top[token] = float(max(logprob, _LEAST))
    return [{"token": token, "logprob": logprob} for token, logprob in top.items()]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")  # which of them counts, nobody can say
    return found


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return "an empty list" if value == [] else names[type(value)]
