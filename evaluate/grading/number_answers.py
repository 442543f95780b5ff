"""Numbers in a model's text, read as they are meant, and the grader of GSM8K.

A number may have a sign, thousands separators, a currency sign, decimals, an exponent, or be a fraction; what stands
behind it ("8...", "8 apples", "8. Done") is no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from selectit.evaluate.grading.answer_phrases import announced, without
from selectit.evaluate.grading.graded import Graded

_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_NOT_WRITTEN = re.compile(r"\\[!,;]|\{,\}(?=\d{3})|\\?[$€£]|(?<=\d)[\u00a0\u202f](?=\d{3}\b)")
"""Currency, LaTeX's spacing and its thousands separator."""
_NUMBER = re.compile(
    r"""(?P<sign>(?<![\w)\]%])(?<![\d)\]%]\s)-)?   # a minus behind a number is a subtraction
        (?:(?P<whole>\d+)\s(?=\d+/\d))?            # 1 1/2
        (?P<magnitude>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\w)\.\d+)
        (?P<exponent>[eE][+-]?\d{1,3}(?!\w))?
        (?:\s?/\s?(?P<below>\d+)(?![\d/]))?
        (?:(?P<thousands>[kK])\b|\s(?P<scale>hundred|thousand|million|billion|trillion)\b)?""",
    re.VERBOSE,
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SIGN_IN_WORDS = re.compile(
    r"(^\W*|[:=(]\s*|\b(?:is|are|equals|be)\s+)(?:minus|negative)\s+(?=[\\$]*\d)", re.IGNORECASE
)
_BOLD = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)")
_SIGNS = ((re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "*"), (re.compile(r"\\div(?![a-zA-Z])"), "/"))
_CALCULATED = re.compile(
    r"^[^(,;]*?(?:[-+*/\u00d7\u00b7\u00f7^=\u2248]|\sx|\b(?:times|plus|minus|(?:multiplied|divided) by))"
    r"\s*[(]*\s*$|^\($",
    re.IGNORECASE,
)
"""Between two numbers, where they are parts of one calculation."""
_EQUALS = re.compile(r"=|\u2248|\\approx|\b(?:is|equals|makes|gives)\b")
_SEVERAL = re.compile(r"^[\s*`]*(\w*)\s*(?:\bor|,\s*or)\s[\s*`]*$|^\s*(?:,|;|,?\s*and)?\s*$", re.IGNORECASE)
"""Between two numbers, where each of them is an answer."""


def numbers(text: str) -> list[Fraction]:
    """Every number of a text, exactly, in order."""
    return [_value(found) for found in _NUMBER.finditer(_plain(text))]


def _plain(text: str) -> str:
    plain = _LATEX_FRACTION.sub(r"\1/\2", text.replace("\u2212", "-").replace("\u2013", "-"))
    return _SIGN_IN_WORDS.sub(r"\1-", _NOT_WRITTEN.sub("", plain))


def _value(found: re.Match[str]) -> Fraction:
    value = Fraction(found["magnitude"].replace(",", "") + (found["exponent"] or ""))
    if found["below"] and int(found["below"]):
        value /= int(found["below"])
    value += int(found["whole"] or 0)
    value *= _SCALES[found["scale"]] if found["scale"] else 1000 if found["thousands"] else 1
    return -value if found["sign"] else value


def announced_number(text: str) -> tuple[bool, Fraction | None]:
    """Whether the text says what its answer is, in numbers, and that number: see `stated_number`."""
    for sentence in reversed(announced(text)):
        if numbers(sentence):
            return True, stated_number(sentence)
    return False, None


def stated_number(sentence: str) -> Fraction | None:
    """The one number that a sentence states: its first, or of a calculation (9 * 2 = 18) what comes out of it.

    None where there is no number, and where it is left open: several numbers (18 or 20), a calculation without its
    result (18 + 2), a negation (not 18).
    """
    denied, but, rest = sentence.partition(" but ")
    if re.match(r"\W*not\b", denied, re.IGNORECASE):
        sentence = rest if but else ""
    plain = _BOLD.sub("", _plain(sentence))
    for pattern, sign in _SIGNS:
        plain = pattern.sub(sign, plain)
    found = list(_NUMBER.finditer(plain))
    if not found:
        return None
    if not _calculates(plain, found):
        return None if _several(plain, found) else _value(found[0])
    for part in reversed(_EQUALS.split(plain)):
        inside = list(_NUMBER.finditer(part))
        if inside and not _calculates(part, inside):
            return None if _several(part, inside) else _value(inside[0])
    return None


def _calculates(text: str, found: list[re.Match[str]]) -> bool:
    return len(found) > 1 and _CALCULATED.match(text[found[0].end() : found[1].start()]) is not None


def _several(text: str, found: list[re.Match[str]]) -> bool:
    """Whether the first two numbers are two answers: with the same unit, or none, and not the same number."""
    if len(found) < 2 or (between := _SEVERAL.match(text[found[0].end() : found[1].start()])) is None:
        return False
    behind = re.match(r"[\s*`]*(\w*)", text[found[1].end() :])
    units = between[1] or "", behind[1] if behind else ""
    return _value(found[0]) != _value(found[1]) and (not units[0] or units[1] in ("", units[0]))


def written(number: Fraction) -> str:
    """As a person writes it: 1234, 0.5, 1/3."""
    if number.denominator == 1:
        return str(number.numerator)
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return format(float(number), ".15g") if rest == 1 else str(number)


def grade_gsm8k(text: str, doc: Mapping[str, Any]) -> Graded:
    """Right where the number is the one behind #### in the row.

    flexible-extract: the number that the text announces, or where it announces none its last; strict-match: only an
    announced one.
    """
    (gold,) = numbers(doc["answer"].split("####")[-1])
    text = without(text, str(doc.get("question", "")))
    announces, strict = announced_number(text)
    found = strict
    if not announces:
        found = next(iter(reversed(numbers(text))), None)
    return Graded(
        None if found is None else written(found),
        float(found == gold),
        {"exact_match,strict-match": float(strict == gold)},
    )
