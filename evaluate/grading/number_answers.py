"""Numbers in a model's text, read as they are meant, and the grader of GSM8K.

A number may have a sign, thousands separators, a currency sign, decimals, an exponent, or be a fraction; what stands
behind it ("8...", "8 apples", "8. Done") is not part of it. How numbers are written is written_numbers.py's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from selectit.evaluate.grading.answer_phrases import announced, without
from selectit.evaluate.grading.graded import Graded
from selectit.evaluate.grading.written_numbers import NUMBER, plain, signed, value, written

MOST_BEFORE = 40
"""Characters in front of a number that are looked at."""
MOST_COMPARED = 8
"""Numbers in a row of which each may be an answer."""
_BOLD = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)")
_SIGNS = ((re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "*"), (re.compile(r"\\div(?![a-zA-Z])"), "/"))
_CALCULATED = re.compile(
    r"^[^(,;]*?(?:[-+*/\u00d7\u00b7\u00f7^=\u2248]|(?:^|\s)x|%\s*of(?:\s+the)?"
    r"|\b(?:times|plus|minus|(?:multiplied|divided) by|(?:less|fewer|more) than))\s*[(]*\s*$|^\($",
    re.IGNORECASE,
)
"""Between two numbers, where they are parts of one calculation."""
_OPEN_BEFORE = re.compile(
    r"(?:\u221a|\\sqrt\s*\{?|\b(?:half|third|quarter) of|\b(?:twice|double|triple)|\b(?:less|fewer|more|greater) than)"
    r"[\s$(]*$",
    re.IGNORECASE,
)
_OPEN_BEHIND = re.compile(r"\s*(?:[\u00b2\u00b3]|(?:squared|cubed|factorial)\b)", re.IGNORECASE)
"""What makes a number a part of an answer that is not computed."""
_EQUALS = re.compile(r"=|\u2248|\\approx|\b(?:is|equals|makes|gives)\b")
_SEVERAL = re.compile(
    r"^[\s*`]*(?P<unit>\w*)[\s*`]*[,(]*\s*(?:\bor|,\s*or)(?:\s+(?:maybe|perhaps|even))?\s[\s*`]*$"
    r"|^\s*(?:,|;|:|to|,?\s*and)?\s*$",
    re.IGNORECASE,
)
"""Between two numbers, where each of them is an answer."""
_SMALLER = {
    ("hour", "minute"): 60, ("minute", "second"): 60, ("day", "hour"): 24, ("week", "day"): 7, ("year", "month"): 12,
    ("foot", "inch"): 12, ("dollar", "cent"): 100, ("pound", "ounce"): 16,
}  # fmt: skip
_SINGULAR = {"feet": "foot", "inches": "inch", "hr": "hour", "hrs": "hour", "min": "minute", "mins": "minute"}
_DENIED = re.compile(r"\b(?:not|cannot)(?:\s+\w+)?[\s$*`]*$|n't(?:\s+\w+)?[\s$*`]*$", re.IGNORECASE)
_LABEL = re.compile(r"\b(?:step|part|case|question|problem|example|equation|method)\s*#?\(?\d+\b[.:)]*", re.IGNORECASE)
_LIST_MARK = re.compile(r"^[ \t*#>]*(\d{1,3})[.)][ \t*]+(?=\S)", re.MULTILINE)


def numbers(text: str) -> list[Fraction]:
    """Every number of a text, exactly, in order."""
    return [value(found) for found in NUMBER.finditer(plain(text))]


def announced_number(text: str) -> tuple[bool, Fraction | None]:
    """Whether the text states what its answer is, in numbers, and that number: see `stated_number`."""
    for sentence in reversed(announced(signed(text))):
        if numbers(sentence):
            return True, stated_number(sentence)
    return False, None


def last_number(text: str) -> Fraction | None:
    """The last number that is not a label of a step or a list and is not denied; None also for the last of "7 or 8"."""
    line = _without_labels(plain(signed(text)))
    found = [one for one in NUMBER.finditer(line) if not _is_denied(line, one)]
    if not found or _several(line, found[-2:], alternatives=True):
        return None
    return value(found[-1])


def _is_denied(text: str, number: re.Match[str]) -> bool:
    return _DENIED.search(_before(text, number)) is not None


def _before(text: str, number: re.Match[str]) -> str:
    """The last words in front of a number, of its line."""
    return text[max(number.start() - MOST_BEFORE, 0) : number.start()].rpartition("\n")[2]


def _without_labels(text: str) -> str:
    """Without "Step 3" and the numbers of a list that counts from 1."""
    expected = 1

    def mark(found: re.Match[str]) -> str:
        nonlocal expected
        number = int(found[1])
        if number not in (1, expected):
            return found[0]
        expected = number + 1
        return "\n"

    return _LABEL.sub(" ", _LIST_MARK.sub(mark, text))


def stated_number(sentence: str) -> Fraction | None:
    """The one number that a sentence states: its first, or of a calculation (9 * 2 = 18) what comes out of it.

    None where there is no number, and where it is left open: several numbers (18 or 20, 18 to 20, 18:30), a calculation
    without its result (18 + 2, half of 18), a negation (not 18).
    """
    text = _BOLD.sub("", plain(signed(sentence)))
    for pattern, sign in _SIGNS:
        text = pattern.sub(sign, text)
    if (first := NUMBER.search(text)) and _is_denied(text, first):
        _, _, text = text[first.start() :].partition(" but ")
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    if not _calculates(text, found):
        return _alone(text, found)
    for part in reversed(_EQUALS.split(text)):
        inside = list(NUMBER.finditer(part))
        if inside and not _calculates(part, inside):
            return _alone(part, inside)
    return None


def _alone(text: str, found: list[re.Match[str]]) -> Fraction | None:
    if (whole := _with_smaller_unit(text, found)) is not None:
        return whole
    return None if _several(text, found) else value(found[0])


def _calculates(text: str, found: list[re.Match[str]]) -> bool:
    if _OPEN_BEFORE.search(_before(text, found[0])) or _OPEN_BEHIND.match(text, found[0].end()):
        return True
    if len(found) == 1:
        return False
    between = text[found[0].end() : found[1].start()]
    of_fraction = found[0]["below"] is not None and re.fullmatch(r"\s*of(?:\s+the)?\s*", between) is not None
    return of_fraction or _CALCULATED.match(between) is not None


def _several(text: str, found: list[re.Match[str]], alternatives: bool = False) -> bool:
    """Whether two neighbouring numbers are two answers: different ones with the same unit, or none.

    Args: alternatives: only those with "or" between them.
    """
    for one, other in pairwise(found[:MOST_COMPARED]):
        between = text[one.end() : other.start()]
        if (match := _SEVERAL.match(between)) is None or (alternatives and not re.search(r"\bor\b", between)):
            return False
        if value(one) == value(other):
            continue
        behind = re.match(r"[\s*`]*(\w*)", text[other.end() :])
        unit, its = match["unit"] or "", behind[1] if behind else ""
        return not unit or its in ("", unit)
    return False


def _with_smaller_unit(text: str, found: list[re.Match[str]]) -> Fraction | None:
    """8.5 of "8 hours and 30 minutes"."""
    if len(found) < 2:
        return None
    between = re.fullmatch(r"\s*([a-z]+),?\s+(?:and\s+)?", text[found[0].end() : found[1].start()], re.IGNORECASE)
    behind = re.match(r"\s*([a-z]+)", text[found[1].end() :], re.IGNORECASE)
    if between is None or behind is None:
        return None
    units = (_singular(between[1]), _singular(behind[1]))
    return value(found[0]) + value(found[1]) / _SMALLER[units] if units in _SMALLER else None


def _singular(unit: str) -> str:
    return _SINGULAR.get(unit.lower(), unit.lower().removesuffix("s"))


def grade_gsm8k(text: str, doc: Mapping[str, Any]) -> Graded:
    """Right where the number is the one behind #### in the row.

    flexible-extract: the number that the text announces, or where it announces none its last; strict-match: only an
    announced one.
    """
    (gold,) = numbers(doc["answer"].split("####")[-1])
    text = without(text, str(doc.get("question", "")))
    announces, strict = announced_number(text)
    found = strict if announces else last_number(text)
    return Graded(
        None if found is None else written(found),
        float(found == gold),
        {"exact_match,strict-match": float(strict == gold)},
    )
