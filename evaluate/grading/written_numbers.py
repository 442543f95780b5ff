"""How numbers are written: signs, separators, currencies, fractions, exponents. Reads them, and writes them."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

MOST_DIGITS = 400
"""Of a number that is read exactly; what is longer is not an answer, and must not take time."""

_SIGN_APART = re.compile(
    r"((?:\b(?:is|are|equals|be)\b|[=:({]|(?<!\d)\$)[ \t*$\\({]{0,9})[-\u2212\u2013][ \t]+(?=[\\$]*\.?\d)",
    re.IGNORECASE,
)
_SIGN_OF_BRACKET = re.compile(r"(?<![\w)\]%])(?<![\d)\]%]\s)[-\u2212\u2013]\s*\(\s*(\$?\d[\d,.]*)\s*\)")
_SIGN_IN_WORDS = re.compile(
    r"(^\W*|[:=(]\s*|\b(?:is|are|equals|be)\s+)(?:minus|negative)\s+(?=[\\$]*\d)", re.IGNORECASE
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_VULGAR_FRACTION = re.compile("(?P<whole>\\d)?\\s?(?P<part>[\u00bc-\u00be\u2150-\u215e])")
_NOT_WRITTEN = re.compile(r"\\[!,;]|\{,\}(?=\d{3})|\\?[$\u20ac\u00a3\u20b9]")
"""Currencies, LaTeX's spacing and its thousands separator."""
_BLANKS = r"[ \u00a0\u2007\u2009\u202f]"
_APART = re.compile(
    rf"(?<![\w.,/-])-?[1-9]\d{{0,2}}(?:(?:{_BLANKS}\d{{3}})+|(?:'\d{{3}})+|(?:_\d{{3}})+)(?![\w,/'_]|{_BLANKS}?\d|-[a-zA-Z])"
)
"""70 000, 70'000, 70_000."""
_CONTINENTAL = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?![\d,]|\.\d)")
"""1.080,50"""
_FULL_HOUR = re.compile(r"(?<=\d):00(?![\d:])")
_AND_A_HALF = re.compile(r"(?<=\d) and (?:a|one) half\b")
_POWER_OF_TEN = re.compile(
    r"(?<![\d.,])(\d+(?:\.\d+)?)\s*(?:[x*\u00d7\u00b7]|\\times|\\cdot)\s*10\s*\^\s*\{?\s*(-?\d{1,3})\s*\}?(?![\d^])"
)
NUMBER = re.compile(
    r"""(?P<sign>(?<![\w)\]%])(?<![\d)\]%]\s)-)?   # a minus behind a number is a subtraction
        (?:(?P<whole>\d+)\s(?=\d+/\d))?            # 1 1/2
        (?P<magnitude>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\w)\.\d+)
        (?P<exponent>[eE][+-]?\d{1,3}(?!\w))?
        (?:\s?/\s?(?P<below>\d+)(?![\d/]))?
        (?:(?P<letter>[kK]|M|[bB]n)\b|\s(?P<scale>hundred|thousand|million|billion|trillion)\b)?""",
    re.VERBOSE,
)
_LETTERS = {"k": 10**3, "m": 10**6, "bn": 10**9}
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def signed(text: str) -> str:
    """With each minus directly in front of its number. In front of a line it is the mark of a list and stays."""
    return _SIGN_OF_BRACKET.sub(r"-\1", _SIGN_APART.sub(r"\1-", text))


def plain(text: str) -> str:
    """As `NUMBER` reads it."""
    text = _LATEX_FRACTION.sub(r"\1/\2", text.replace("\u2212", "-").replace("\u2013", "-"))
    text = _VULGAR_FRACTION.sub(_slashed, _AND_A_HALF.sub(" 1/2", text))
    text = _POWER_OF_TEN.sub(r"\1e\2", _NOT_WRITTEN.sub("", text))
    text = _APART.sub(lambda found: re.sub(r"[^\d-]", "", found[0]), text)
    text = _CONTINENTAL.sub(lambda found: f"{found[1].replace('.', '')}.{found[2]}", text)
    return _SIGN_IN_WORDS.sub(r"\1-", _FULL_HOUR.sub("", text))


def _slashed(found: re.Match[str]) -> str:
    """3 1/2 of 3½."""
    part = unicodedata.normalize("NFKC", found["part"]).replace("\u2044", "/")
    return f"{found['whole']} {part}" if found["whole"] else part


def value(found: re.Match[str]) -> Fraction:
    """Args: found: by `NUMBER`."""
    number = _exact(found["magnitude"].replace(",", "")) * Fraction(10) ** int((found["exponent"] or "e0")[1:])
    if found["below"] and (below := _exact(found["below"])):
        number /= below
    number += _exact(found["whole"] or "0")
    if found["scale"] or found["letter"]:
        number *= _SCALES[found["scale"]] if found["scale"] else _LETTERS[found["letter"].lower()]
    return -number if found["sign"] else number


def _exact(digits: str) -> Fraction:
    """Of too many digits only the first, which is more than any answer."""
    whole, _, rest = digits.partition(".")
    return Fraction(f"{whole[:MOST_DIGITS] or '0'}.{rest[:MOST_DIGITS] or '0'}")


def written(number: Fraction) -> str:
    """As a person writes it: 1234, 0.5, 1/3."""
    if number.denominator == 1:
        return str(number.numerator)
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    is_decimal = rest == 1 and abs(number) < 10**15
    return format(float(number), ".15g") if is_decimal else str(number)
