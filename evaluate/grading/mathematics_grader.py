"""Grades final answers with math-verify. Runs as `python -c` in a process of its own, and is imported nowhere.

math-verify's own limits are seconds on the clock, so that its verdict would depend on what else the machine does, and
work in a main thread only. Here processor time is limited: first by an exception, then, where a formula is computed
in one long step (10^10^10), by the end of the process.

What math-verify reads as something else than is written is rewritten before it reads it, in published and in given
answers alike: numbers such as 4.5e33 (it takes the e for Euler's), 1./3, an empty set, signs it does not know. Small
numbers, which it rounds to six decimals, are compared to six significant digits.

stdin: lines of JSON {final_answers, answer, seconds, last_seconds}. stdout: a line {right, reason, read} for each.
"""

import dataclasses
import json
import logging
import re
import resource
import signal
import sys

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

MEMORY_BYTES = 4 << 30
SIX_DIGITS = 5e-6

SCIENTIFIC = re.compile(r"(?<![\w.\\])(\d+\.?\d*|\.\d+)[eE]\+?(-?\d{1,3})(?![\w^]|\.\d)")
WORDS_OF_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
BLANK = r"(?:\\[,;:! ]|[ ~])"
REWRITTEN = (
    (re.compile(r"\\\$"), ""),  # \$18.90 is not read at all
    (re.compile(r"\u2212|(?<![\w)}\]])(?<![\w)}\]]\s)\u2013(?=\s*[\d\\.])"), "-"),
    (re.compile(r"</?answer>"), " "),
    (re.compile(r"\u221a\s*(?:\(([^()]*)\)|(\d+|[a-z]))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<=\d)\.(?=\s*(?:\}|\$|\\\)|\\\]))"), ""),  # \boxed{5.}
    (
        re.compile(rf"(?<=\\boxed\{{)\s*(-?\d{{1,3}}(?:{BLANK}\d{{3}})+)(?![\d.,])"),
        lambda m: re.sub(r"[^\d-]", "", m[1]),
    ),
    (
        re.compile(rf"(?<=\d){BLANK}*\\(?:text|mbox|mathrm)\{{\s*({'|'.join(WORDS_OF_POWERS)})s?\b"),
        lambda m: rf" \times 10^{{{WORDS_OF_POWERS[m[1]]}}} \text{{",
    ),
    # 5 hours 30 minutes are two numbers
    (
        re.compile(
            r"(\\boxed\{\s*-?[\d.]+)\s*\\text\{[^{}]*\}(?:\\[ ,;]|\\text\{\s*and\s*\}|\s)*(?=\d[\d.]*\s*\\text)"
        ),
        r"\1, ",
    ),
    (re.compile(r"(?<![\w.)\]}])\.(?=\d)"), "0."),
    (re.compile(r"(\bis:?\s+\**\$?)(-?\d[\d.]*)\$? or \$?(-?\d+(?:\.\d+)?)"), r"\1\\boxed{\2, \3}"),  # two answers
    (re.compile(r"\\varnothing(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"(?<=\d)\.(?=\s*/)"), ""),  # 1./3
    (re.compile(r"(?:^|(?<=\{))([a-zA-Z])(\([^()\[\]]*\]|\[[^()\[\]]*\))(?=$|\})"), r"\1 \\in \2"),  # t(0,4]
    (re.compile(r"(?<![\w\\])np\.(?=[a-z])"), r"\\"),
)
REFERENCE_ONLY = (
    (re.compile(r"\$\s*\$"), " "),  # a formula that was cut in two
    (re.compile(r"\$"), ""),
)
UNKNOWN_SIGNS = (
    (re.compile(r"\\hbar(?![a-zA-Z])"), "h_{b}"),
    (re.compile(r"\\gamma(?![a-zA-Z])"), "y_{g}"),  # read as the gamma function in front of a bracket
    (re.compile(r"E_(?:\{(\w+)\}|(\w))"), r"y_{e\1\2}"),  # read as Euler's number
    (re.compile(r"_(?:\{\s*\\odot\s*\}|\\odot(?![a-zA-Z]))"), "_{sun}"),
    (re.compile(r"_\{\s*\\(max|min)\s*\}"), r"_{\1}"),
)
"""Signs that math-verify cannot read, renamed in both answers where the published one has them."""
RELATION = re.compile(r"\\(?:neq?|not|geq?|leq?|geqslant|leqslant|gt|lt)(?![a-zA-Z])|[<>\u2260\u2264\u2265]")
WORDS = re.compile(r"\\(?:text|mbox|mathrm|rm)\b")

WITH_UNITS = (LatexExtractionConfig(), ExprExtractionConfig())
WITHOUT_UNITS = (
    LatexExtractionConfig(
        normalization_config=dataclasses.replace(LatexExtractionConfig().normalization_config, units=False)
    ),
    ExprExtractionConfig(),
)
"""Where `m` and `c` at the end of a formula are its variables, not meters and a speed."""


class OutOfTimeError(BaseException):
    """Not an Exception, so that no `except Exception` on the way swallows it."""


def stop(*_):
    raise OutOfTimeError


def rewritten(text, rules):
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def plain(text, rules=()):
    return rewritten(SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text), (*REWRITTEN, *rules))


def read(text, reading):
    return parse(text, extraction_config=reading, parsing_timeout=None)


def grade(final_answers, answer):
    """-> (why the answer is wrong, empty where it is right; what was read out of it)."""
    any_reference, found = False, []
    for published in final_answers:
        reference = plain(published.lstrip("$ \n").rstrip("$. \n").replace("\n", " "), REFERENCE_ONLY)
        rules = [rule for rule in UNKNOWN_SIGNS if rule[0].search(reference)]
        latex = f"${rewritten(reference, rules)}$"
        right = read(latex, WITH_UNITS)
        reading = WITH_UNITS
        if not WORDS.search(latex) and str(right) != str(without := read(latex, WITHOUT_UNITS)) and without:
            right, reading = without, WITHOUT_UNITS
        if not right:
            continue
        any_reference = True
        found = read(plain(answer, rules), reading)
        if not found or other_base(reference, str(found[-1])) or is_bound(reference, str(found[-1])):
            continue
        if verify(right, found, allow_set_relation_comp=True, timeout_seconds=None) and close(right, found):
            return "", str(found[-1])
    if not any_reference:
        return "the published answer is not a formula to math-verify", None
    return ("another answer", str(found[-1])) if found else ("no final answer was found", None)


def other_base(reference, answer):
    """Whether two numerals name different bases, which math-verify leaves out: 2516_8 and 2516_9."""
    bases = [re.fullmatch(r"\W*\d+_\{?(\d+)\}?\W*", text) for text in (reference, answer)]
    return all(bases) and bases[0][1] != bases[1][1]


def is_bound(reference, answer):
    """Whether an answer such as \\ge 5, of which math-verify takes the 5, is a bound where the published one is not."""
    return RELATION.match(answer.lstrip("$ ")) is not None and RELATION.search(reference) is None


def close(right, found):
    """Whether two numbers below 1, which math-verify compares by six decimals, have six equal digits."""
    try:
        ours, theirs = complex(right[0].evalf(30)), complex(found[0].evalf(30))
    except (AttributeError, TypeError, ValueError, OverflowError):
        return True
    if not 0 < abs(ours) < 1:
        return True
    return abs(ours - theirs) <= SIX_DIGITS * abs(ours) or is_percentage(ours, theirs)


def is_percentage(ours, theirs):
    """math-verify takes 50\\% for 0.5 and for 50, on either side."""
    return any(abs(ours * factor - theirs) <= SIX_DIGITS * abs(ours * factor) for factor in (100, 0.01))


def main():
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGVTALRM, stop)
    for line in sys.stdin:
        order = json.loads(line)
        signal.setitimer(signal.ITIMER_VIRTUAL, order["seconds"])
        signal.setitimer(signal.ITIMER_PROF, order["last_seconds"])  # whose signal ends the process
        found = None
        try:
            reason, found = grade(order["final_answers"], order["answer"])
        except OutOfTimeError:
            reason = "timed out"
        except (MemoryError, RecursionError, ValueError) as error:
            reason = f"math-verify failed: {type(error).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"right": not reason, "reason": reason, "read": found}), flush=True)


if __name__ == "__main__":
    main()
