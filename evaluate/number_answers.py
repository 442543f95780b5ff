"""Numbers in a model's text, read as they are meant, and the grader of GSM8K.

A number may have a sign, thousands separators, a currency sign, decimals, an exponent, or be a fraction; what stands
behind it ("8...", "8 apples", "8. Done") is no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from selectit.evaluate.answer_phrases import announced, without
from selectit.evaluate.graders import Graded

_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_NOT_WRITTEN = re.compile(r"\\[!,;]|\{,\}(?=\d{3})|\\?[$€£]|(?<=\d)[\u00a0\u202f](?=\d{3}\b)")
"""Currency, LaTeX's spacing and its thousands separator."""
_NUMBER = re.compile(
    r"""(?P<sign>(?<![\w)\]%])(?<![\d)\]%]\s)-)?   # a minus behind a number is a subtraction
        (?:(?P<whole>\d+)\s(?=\d+/\d))?            # 1 1/2
        (?P<magnitude>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\w)\.\d+)
        (?P<exponent>[eE][+-]?\d{1,3}(?!\w))?
        (?:\s?/\s?(?P<below>\d+)(?![\d/]))?""",
    re.VERBOSE,
)


def numbers(text: str) -> list[Fraction]:
    """Every number of a text, exactly, in order."""
    plain = _LATEX_FRACTION.sub(r"\1/\2", text.replace("\u2212", "-").replace("\u2013", "-"))
    return [_value(found) for found in _NUMBER.finditer(_NOT_WRITTEN.sub("", plain))]


def _value(found: re.Match[str]) -> Fraction:
    value = Fraction(found["magnitude"].replace(",", "") + (found["exponent"] or ""))
    if found["below"] and int(found["below"]):
        value /= int(found["below"])
    value += int(found["whole"] or 0)
    return -value if found["sign"] else value


def announced_number(text: str) -> Fraction | None:
    """The number that the text says is its answer: behind the last `=` of that sentence, or else its first."""
    for sentence in reversed(announced(text)):
        for part in (sentence.rpartition("=")[2], sentence):
            if found := numbers(part):
                return found[0]
    return None


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

    flexible-extract: the number that the text announces, or else its last number; strict-match: only an announced one.
    """
    (gold,) = numbers(doc["answer"].split("####")[-1])
    text = without(text, str(doc.get("question", "")))
    strict = announced_number(text)
    found = strict
    if found is None:
        found = next(iter(reversed(numbers(text))), None)
    return Graded(
        None if found is None else written(found),
        float(found == gold),
        {"exact_match,strict-match": float(strict == gold)},
    )
