"""The verdict in a judge's answer: how probable it is that the output shown second, M, is the better one.

Reads verdicts in the forms that judges write them; None stands for an answer without a verdict, or with two.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

GAMES = {"A>>B": 0.0, "A>B": 0.0, "A=B": 0.5, "B>A": 1.0, "B>>A": 1.0}
"""Arena-Hard's verdicts -> what B, shown second, gets."""
MAX_RANKING_CHARS = 2000

_SECOND = {frozenset(("model_1", "model_2")): "model_2", frozenset("mM"): "M"}
"""Names in a ranking -> which of them was shown second; the former are AlpacaEval's."""
_RANKS = {1: 1, 2: 2, "1": 1, "2": 2}
_THOUGHT = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_LIST = re.compile(r"\[\s*\{[^\[\]]*\]")
_MARKUP = re.compile(r"</?[A-Za-z]{1,20}>|\\(?:boxed|text|textbf|mathbf|mathrm)(?![A-Za-z])|[\"'`*_$#>()\[\]{}“”‘’«»]")
_THING = r"(?:assistant|model|output|response|answer|one|choice)"
_BEFORE = (
    r"(?:(?:so|thus|hence|therefore|overall),? )?(?:(?:i (?:would )?(?:choose|prefer|pick|select))|"
    rf"(?:(?:my|the) )?(?:(?:final|overall) )?(?:verdict|winner|answer|choice|preference|decision|judge?ment|"
    rf"(?:better|best|preferred|winning)(?: {_THING})?) ?(?:is ?:?|:|=)) ?(?:(?:the )?(?:assistant|model|output) )?"
)
_SENTENCE = re.compile(
    rf"(?P<named>{_BEFORE})?(?P<letter>[mM])(?: ?[,;:–—-]? ?(?:because|since) .*| ?[.!,:;]?)", re.IGNORECASE
)
_CLAUSE = re.compile(
    rf"(?:^|[,;:–—] |\b(?:but|so|and|that) )(?:{_BEFORE})(?P<letter>[mM])(?=[ .,;:!]|$)", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")
_FENCE = re.compile(r"\s*```\w*\s*")
_FENCES = re.compile(r"^\s*```\w*\s*\n|\n\s*```\s*$")
_VERDICT_KEYS = ("verdict", "winner", "answer", "choice", "preference", "preferred", "better", "best", "decision")
_GAME_MARKS = (re.compile(r"\[\[([^\[\]]{3,40})\]\]"), re.compile(r"\[([^\[\]]{3,40})\]"))
"""As Arena-Hard reads them: two brackets, or where there are none one."""
_GAME = re.compile(r"(?P<left>[AB])(?P<sign>>>|>|=|<<|<)(?P<right>[AB])", re.IGNORECASE)
_SIGNS = {"≫": ">>", "≪": "<<", "&gt;": ">", "&lt;": "<", "\\gg": ">>", "\\ll": "<<", "＞": ">", "＜": "<", "＝": "="}
_DECORATION = str.maketrans("", "", " \t\r\n*_`$\\\"'")


def verdict_of_game(text: str) -> str | None:
    """Arena-Hard's verdict, such as A>>B; None where there is none or several disagree."""
    answer = _without_thoughts(text).replace("\\[", "[").replace("\\]", "]")
    for mark in _GAME_MARKS:
        if found := {game for inner in mark.findall(answer) if (game := _game(inner))}:
            return found.pop() if len(found) == 1 else None
    return None


def verdict_of_text(text: str) -> float | None:
    """1 for M, 0 for m: a letter or AlpacaEval's ranking, a list of {"model": ..., "rank": 1 or 2}.

    A letter counts as the first sentence, as a line of its own, or named as the verdict (`Final answer: M`); a ranking
    counts anywhere. A letter named within a sentence (`but the better one is m, I think`) is not a verdict, and speaks
    against another one. What a judge thought before it answered is left out.
    """
    answer = _without_thoughts(text).strip()
    sentences = _sentences(answer)
    found = {*_rankings(answer), *_letters(sentences), *_named(answer)}
    spoken = {float(match["letter"] == "M") for line in sentences for one in line for match in _CLAUSE.finditer(one)}
    return next(iter(found)) if len(found) == 1 and spoken <= found else None


def verdict_of_logprobs(top: Sequence[Mapping[str, Any]]) -> float | None:
    """P(M) / (P(m) + P(M)) of the most probable first tokens, {"token": ..., "logprob": ...}; one not listed counts 0.

    Source: AlpacaEval 2's weighted win rate.
    """
    probability = {entry["token"]: math.exp(entry["logprob"]) for entry in top}
    m, M = probability.get("m", 0.0), probability.get("M", 0.0)
    return M / (m + M) if m + M > 0 else None


def _without_thoughts(text: str) -> str:
    """The text without <think> blocks; a block without beginning stood first, one without end has no verdict."""
    parts: list[str] = []
    position, is_inside = 0, False
    for mark in _THOUGHT.finditer(text):
        is_end = bool(mark[1])
        if is_end and not is_inside:
            parts.clear()
        elif not is_end and not is_inside:
            parts.append(text[position : mark.start()])
        is_inside, position = not is_end, mark.end()
    return "".join(parts) + ("" if is_inside else text[position:])


def _game(inner: str) -> str | None:
    for written, sign in _SIGNS.items():
        inner = inner.replace(written, sign)
    match = _GAME.fullmatch(inner.translate(_DECORATION).upper())
    if match is None or match["left"] == match["right"]:
        return None
    if match["sign"] == "=":
        return "A=B"
    ordered = (match["left"], match["right"])
    better, worse = ordered if ">" in match["sign"] else ordered[::-1]
    return f"{better}{'>' * len(match['sign'])}{worse}"


def _sentences(answer: str) -> list[list[str]]:
    """The sentences of each line, without markup."""
    lines = [line for line in answer.splitlines() if line.strip() and not _FENCE.fullmatch(line)]
    return [_SENTENCE_END.split(" ".join(_MARKUP.sub("", line).split())) for line in lines]


def _letters(lines: Sequence[Sequence[str]]) -> Iterator[float]:
    """Verdicts by letter: a line of its own, a sentence of its own in the first line, or named as the verdict."""
    for number, sentences in enumerate(lines):
        for sentence in sentences:
            match = _SENTENCE.fullmatch(sentence)
            if match and (match["named"] or number == 0 or len(sentences) == 1):
                yield float(match["letter"] == "M")


def _named(answer: str) -> Iterator[float]:
    """The verdict of an answer that is one JSON object: {"verdict": "M", "reason": "m is long"}."""
    entries = _literal(_FENCES.sub("", answer).strip())
    if isinstance(entries, dict):
        for name, value in entries.items():
            if str(name).lower() in _VERDICT_KEYS and value in ("m", "M"):
                yield float(value == "M")


def _rankings(answer: str) -> Iterator[float | None]:
    """Verdicts of all rankings; None for a list that contradicts itself, so that no other verdict is read with it."""
    for match in _LIST.finditer(answer):
        entries = _literal(match[0])
        if not isinstance(entries, list) or not all(
            isinstance(e, dict) and {"model", "rank"} <= set(e) for e in entries
        ):
            continue
        yield _verdict_of_ranking(entries)


def _verdict_of_ranking(entries: Sequence[Mapping[str, Any]]) -> float | None:
    models = [entry["model"] for entry in entries]
    ranks = [_RANKS.get(entry["rank"]) if type(entry["rank"]) in (int, str) else None for entry in entries]
    if len(entries) != 2 or not all(isinstance(model, str) for model in models) or set(ranks) != {1, 2}:
        return None
    second = _SECOND.get(frozenset(models))
    return None if second is None else float(models[ranks.index(1)] == second)


def _literal(text: str) -> Any:
    """The value of a JSON or Python literal; None where it is neither."""
    if len(text) > MAX_RANKING_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
