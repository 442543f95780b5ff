"""The grader of BIG-Bench Hard: answers are compared as what the task means by them.

What a task means is seen from its right answer: an option's letter, one of two words, a number with its sign, a
sequence of brackets, or a list of words. Capital letters and what surrounds an answer do not matter, and everything
else does. An answer stands behind its announcement ("So the answer is ..."), the last one where there are several; a
text that is nothing but an answer needs none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from selectit.evaluate.grading.answer_phrases import announced_texts, first_sentence, without
from selectit.evaluate.grading.graded import Graded
from selectit.evaluate.grading.number_answers import stated_number, written

_PAIRS = (("true", "false"), ("yes", "no"), ("valid", "invalid"))
_OPTION = re.compile(r"^\(([A-Z])\)\s*(.*?)\s*$", re.MULTILINE)
_LETTER_ALONE = re.compile(
    r"(?:the\s)?(?:option|choice)?[\s*(]*([A-Z])(?=\s*$|[).:,*}])(?!\s*(?:,|/|and|or)\s*[A-Z]\b)", re.IGNORECASE
)
_BRACKETS = "[](){}<>"
_QUOTES = " \t*`\"'$"


def grade_bbh(text: str, doc: Mapping[str, Any]) -> Graded:
    gold = str(doc["target"]).strip()
    answer = read_bbh(without(text, str(doc["input"])), gold, str(doc["input"]))
    right = read_bbh(f"The answer is {gold}", gold, str(doc["input"]))
    return Graded(answer, float(answer is not None and answer == right))


def read_bbh(text: str, gold: str, question: str) -> str | None:
    """Args: gold: shows the form of the task's answers; question: with the options, of tasks that have some."""
    options = dict(_OPTION.findall(question))
    rests = announced_texts(text)
    whole = not rests
    rest = (rests[-1] if rests else text).strip()
    if options and (re.fullmatch(r"\([A-Z]\)", gold) or _plain(gold) in map(_plain, options.values())):
        return _read_option(rest, options, whole)
    for pair in _PAIRS:
        if gold.lower() in pair:
            return _read_word(rest, pair, whole)
    if re.fullmatch(r"-?\d+", gold):
        return _read_number(rest, whole)
    if gold and all(sign in _BRACKETS + " " for sign in gold):
        return _read_brackets(rest, whole)
    return _read_words(rest, question, whole)


def _read_option(rest: str, options: Mapping[str, str], whole: bool) -> str | None:
    """A letter in brackets, a letter alone, or an option's own text; several letters are no answer."""
    sentence = _line(rest) if whole else first_sentence(rest)
    if whole and _OPTION.search(rest.partition("\n")[2]):  # a copy of the list of options
        return None
    texts = [_plain(text) for text in options.values()]
    letters = {_plain(text): letter for letter, text in options.items() if texts.count(_plain(text)) == 1}
    if (letter := letters.get(_plain(rest.split("\n")[0].rstrip(". ")))) is not None:
        return letter
    if whole and len(sentence) != len(rest.strip().rstrip(".")):
        return None
    if re.match(r"\W*(?:definitely |certainly )?not\b", sentence, re.IGNORECASE):
        return None
    in_brackets = re.findall(r"\(([A-Z])\)", sentence)
    if in_brackets:
        if whole and not re.match(r"[\s*]*\(", sentence):
            return None
        if re.search(r"\([A-Z]\)\s*(?:,|/|&|and|or)+\s*\(?[A-Z]\b", sentence):
            return None
        return in_brackets[0] if in_brackets[0] in options else None
    alone = _LETTER_ALONE.match(sentence)
    return alone[1].upper() if alone and alone[1].upper() in options else None


def _read_word(rest: str, pair: tuple[str, str], whole: bool) -> str | None:
    if whole:
        word = rest.strip(_QUOTES + "\n.").lower()
        return word if word in pair else None
    words = re.findall(r"[a-z']+", first_sentence(rest).lower())
    both = set(words) >= set(pair)
    if words and words[0] in pair and not (both and len(words) < 4):
        return words[0]
    named = [word for word in pair if word in words]
    return named[0] if len(named) == 1 and "not" not in words else None


def _read_number(rest: str, whole: bool) -> str | None:
    if whole and not re.fullmatch(r"[\s$*]*-?[\d,.]+[\s$*.]*", rest):
        return None
    found = stated_number(rest.strip(" .") if whole else first_sentence(rest))
    return None if found is None else written(found)


def _read_brackets(rest: str, whole: bool) -> str | None:
    """The brackets at the start. A word behind them may explain them; what brackets follow is then not read."""
    line = _line(rest).strip(_QUOTES)
    found = re.match(r"[\[\](){}<>\s,]*", line)
    assert found is not None
    behind = line[found.end() :].strip(_QUOTES + ".")
    sequence = [sign for sign in found[0] if sign in _BRACKETS]
    if not sequence or (whole and behind) or re.match(r"(?:or|and)\b|/", behind):
        return None
    return " ".join(sequence)


def _read_words(rest: str, question: str, whole: bool) -> str | None:
    line = _listed(rest) or re.split(r"\.(?:\s|$)|\n", rest.strip(), maxsplit=1)[0]
    words = [word.strip(_QUOTES + ",;") for word in re.split(r"[\s,;]+", line.casefold()) if word.strip(_QUOTES + ",;")]
    if not words:
        return None
    if whole:
        asked = {word.strip(_QUOTES + ",;:") for word in question.casefold().split()}
        if not set(words) <= asked:
            return None
    return " ".join(words)


def _listed(rest: str) -> str:
    """The words of a list that has one a line, with numbers or bullets in front; empty where there is none."""
    words = []
    for line in rest.strip().split("\n"):
        if (one := re.fullmatch(r"\s*(?:\d+[.)]|[-*\u2022])\s+(\S+)\s*", line)) is None:
            break
        words.append(one[1])
    return " ".join(words)


def _line(text: str) -> str:
    return text.strip().split("\n")[0].strip().rstrip(".")


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
