"""Graders of released evaluation scripts, which keep each rule even where it gives points for nothing.

`selectit`: open-instruct's of 2023, as Blue-Raincoat/SelectIT releases them with its paper. `instructdiff`: the medical
script of zhuchichi56/Instruct-diff. What an empty and a garbled answer are worth stands in the notes of the profiles
that use these rules, and in the tests.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from selectit.evaluate.grading.graded import Graded

_NUMBER = re.compile(r"[-+]?\d*\.\d+|\d+")
_COMMA = re.compile(r"(\d),(\d)")
_ANSWER = re.compile(r"[t|T]he answer is (.*?)\.")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
LETTERS = "ABCD"


def grade_selectit_gsm8k(text: str, doc: Mapping[str, Any]) -> Graded:
    """The last number of the text, or all of it; a sign counts only in front of a decimal point."""
    gold = _COMMA.sub(r"\1\2", doc["answer"].split("####")[1].strip())
    without_commas = _COMMA.sub(r"\1\2", text)
    numbers = _NUMBER.findall(without_commas)
    answer = numbers[-1] if numbers else without_commas
    return Graded(answer, _same(answer, gold))


def grade_selectit_bbh(text: str, doc: Mapping[str, Any]) -> Graded:
    """What stands behind the first "the answer is" up to a full stop of its line, or the whole text."""
    found = _ANSWER.search(text)
    answer = (found.group(1) if found else text).strip()
    return Graded(answer, _same(answer, doc["target"]))


def _same(answer: str, gold: str) -> float:
    """Equal without case and ASCII punctuation; blanks count."""
    one, other = (text.lower().translate(_PUNCTUATION) for text in (answer, gold))
    return float(one == other)


def grade_selectit_tydiqa(text: str, doc: Mapping[str, Any]) -> Graded:
    """SQuAD 1.1's F1 and exact match, the best over the right answers: English articles in every language."""
    answer, golds = text.strip(), doc["answers"]
    f1 = max(_f1(_words(answer), _words(gold)) for gold in golds)
    exact = max(float(_words(answer) == _words(gold)) for gold in golds)
    return Graded(answer, f1, {"exact_match": exact})


def _words(text: str) -> list[str]:
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    num_same = sum((Counter(answer) & Counter(gold)).values())
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(answer), num_same / len(gold)
    return 2 * precision * recall / (precision + recall)


def instructdiff_letter(first_tokens: Sequence[tuple[str, float]]) -> str:
    """The letter that InstructDiff's medical script takes for an answer.

    Args: first_tokens: texts and log-probabilities, most probable first. A letter that stands there in several forms
        ("A", " a") counts with the last of them, as the script overwrites the others; without a letter the first one in
        the alphabet that the most probable token holds is taken, else A.
    """
    found: dict[str, float] = {}
    for text, log_probability in first_tokens:
        if (letter := text.strip().upper()) in tuple(LETTERS):
            found[letter] = log_probability
    if found:
        return max(found, key=lambda letter: found[letter])
    most_probable = first_tokens[0][0].upper() if first_tokens else ""
    return next((letter for letter in LETTERS if letter in most_probable), "A")
