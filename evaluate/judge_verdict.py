"""What a judge's answer says: how probable it is that the output shown second, M, is the better one.

Reads chat completions of the OpenAI format; None stands for an answer that says nothing.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

_LETTER = re.compile(r"[\s\"'`*(\[]*([mM])[\s\"'`*)\].]*")
_SECOND = {frozenset(("model_1", "model_2")): "model_2", frozenset("mM"): "M"}
"""Names in a ranking -> which of them was shown second; the former are AlpacaEval's."""
GAMES = {"A>>B": 0.0, "A>B": 0.0, "A=B": 0.5, "B>A": 1.0, "B>>A": 1.0}
"""Arena-Hard's verdicts -> what B, shown second, gets."""
_GAME = re.compile(rf"\[\[({'|'.join(GAMES)})\]\]")


def verdict_of_game(text: str) -> str | None:
    """Arena-Hard's verdict, such as A>>B; None where there is none or several disagree."""
    found = set(_GAME.findall(text))
    return found.pop() if len(found) == 1 else None


def verdict_of_text(text: str) -> float | None:
    """1 for M, 0 for m: the letter alone, or AlpacaEval's ranking, a list of {"model": ..., "rank": 1 or 2}."""
    if letter := _LETTER.fullmatch(text):
        return float(letter[1] == "M")
    try:
        ranking = {entry["model"]: entry["rank"] for entry in ast.literal_eval(text.strip())}
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return None
    second = _SECOND.get(frozenset(ranking))
    if second is None or set(ranking.values()) != {1, 2}:
        return None
    return float(ranking[second] == 1)


def verdict_of_logprobs(top: Sequence[Mapping[str, Any]]) -> float | None:
    """P(M) / (P(m) + P(M)) of the most probable first tokens, {"token": ..., "logprob": ...}; one not listed counts 0.

    Source: AlpacaEval 2's weighted win rate.
    """
    probability = {entry["token"]: math.exp(entry["logprob"]) for entry in top}
    m, M = probability.get("m", 0.0), probability.get("M", 0.0)
    return M / (m + M) if m + M > 0 else None
