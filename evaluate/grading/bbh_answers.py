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

from selectit.evaluate.grading.answer_phrases import announced_texts, first_sentence, unfenced, without
from selectit.evaluate.grading.graded import Graded
from selectit.evaluate.grading.number_answers import stated_number
from selectit.evaluate.grading.option_answers import NEGATED, OPTION, first_line, plain_words, read_option
from selectit.evaluate.grading.written_numbers import signed, written

_PAIRS = (("true", "false"), ("yes", "no"), ("valid", "invalid"))
_NOT_VALID = re.compile(r"(?:\bnot|n't) (?:deductively |logically )?valid\b")
_BEHIND_NO = ("because", "since", "as", "it", "he", "she", "they", "this", "that", "the", "there", "so", "not")
"""Words behind a "no" that is an answer and not a part of "no idea"."""
_BRACKETS = "[](){}<>"
_QUOTES = " \t*`\"'$"
_RUN = re.compile(r"[\[\](){}<>\s,\"'`*\\]*")
_IN_WORDS = re.compile(r"\([^()\[\]{}<>]*\w[^()\[\]{}<>]*\)")
_GOES_ON = re.compile(r"(?:or|and|then|followed|plus|with)\b|[/+&]", re.IGNORECASE)
_EXPLAINS = re.compile(r"(?:because|since|as|which|where|to|so|for|in|that)\b", re.IGNORECASE)
_ARROWS = ("<", "->", "=>", "\u2192", "-", "\u2013", "|")
"""Between the words of a sorted list."""


def grade_bbh(text: str, doc: Mapping[str, Any]) -> Graded:
    gold = str(doc["target"]).strip()
    answer = read_bbh(without(text, str(doc["input"])), gold, str(doc["input"]))
    right = read_bbh(f"The answer is {gold}", gold, str(doc["input"]))
    return Graded(answer, float(answer is not None and answer == right))


def read_bbh(text: str, gold: str, question: str) -> str | None:
    """Args: gold: shows the form of the task's answers; question: with the options, of tasks that have some."""
    options = dict(OPTION.findall(question))
    is_number = re.fullmatch(r"-?\d+", gold) is not None
    rests = announced_texts(signed(text) if is_number else text)
    whole = not rests
    rest = (rests[-1] if rests else unfenced(text)).strip()
    if options and (re.fullmatch(r"\([A-Z]\)", gold) or plain_words(gold) in map(plain_words, options.values())):
        return read_option(rest, options, whole)
    for pair in _PAIRS:
        if gold.lower() in pair:
            return _read_word(rest, pair, whole)
    if is_number:
        return _read_number(rest, whole)
    if gold and all(sign in _BRACKETS + " " for sign in gold):
        return _read_brackets(rest, whole)
    return _read_words(rest, question, whole)


def _read_word(rest: str, pair: tuple[str, str], whole: bool) -> str | None:
    if whole:
        word = rest.strip(_QUOTES + "\n.").lower()
        said = re.match(rf"({'|'.join(pair)})\b[*\"'`]*[.,;:!\n]", word)
        if said and not set(pair) - {said[1]} & set(re.findall(r"[a-z']+", word)):
            return said[1]
        return word if word in pair else None
    sentence = first_sentence(rest).lower()
    if pair[0] == "valid":
        sentence = _NOT_VALID.sub(" invalid", sentence)
    words = re.findall(r"[a-z']+", sentence)
    if words and words[0] in pair:
        (other,) = set(pair) - {words[0]}
        behind = sentence.partition(words[0])[2]
        if re.match(rf"\W*(?:(?:or|and|nor)\b)?\W*{other}\b", behind):
            return None
        if words[0] == "no" and (then := re.match(r"\s+([a-z']+)", behind)) and then[1] not in _BEHIND_NO:
            return None
        return words[0]
    named = [word for word in pair if word in words]
    if len(named) != 1 or NEGATED.search(sentence) or {"hardly", "never"} & set(words):
        return None
    return named[0] if named[0] != "no" or words[-1] == "no" else None


def _read_number(rest: str, whole: bool) -> str | None:
    if whole and not re.fullmatch(r"[\s$*=]*-?[\d,.]+[\s$*.]*", rest):
        return None
    found = stated_number(rest.strip(" .") if whole else first_sentence(rest))
    return None if found is None else written(found)


def _read_brackets(rest: str, whole: bool) -> str | None:
    """The brackets at the start. Brackets behind them belong to an explanation, or there is no answer."""
    line = first_line(rest).strip(_QUOTES)
    found = _RUN.match(line)
    assert found is not None
    end = found.end()
    if end < len(line) and line[end - 1 : end] in tuple("([{<"):  # of "(closing all)"
        end -= 1
    sequence = [sign for sign in line[:end] if sign in _BRACKETS]
    behind = _IN_WORDS.sub("", line[end:]).strip(_QUOTES + ".,;")
    if not sequence or (whole and behind) or _GOES_ON.match(behind):
        return None
    if set(behind) & set(_BRACKETS) and not _EXPLAINS.match(behind):
        return None
    return " ".join(sequence)


def _read_words(rest: str, question: str, whole: bool) -> str | None:
    line = _listed(rest) or re.split(r"\.(?:\s|$)|\n", rest.strip(), maxsplit=1)[0]
    words = [_word(part) for part in re.split(r"[\s,;]+", line.casefold()) if part not in _ARROWS]
    words = [word for word in words if word]
    asked = {_word(part) for part in question.casefold().split()}
    if len(words) > 1 and words[-2] == "and" and "and" not in asked:
        del words[-2]
    if not words or (whole and not set(words) <= asked):
        return None
    return " ".join(words)


def _word(part: str) -> str:
    return part.strip(_QUOTES + ",;:[](){}")


def _listed(rest: str) -> str:
    """The words of a list that has one a line; empty where there is none."""
    words, is_marked = [], False
    for line in rest.strip().split("\n"):
        if (one := re.fullmatch(r"\s*(\d+[.)]\s|[-*\u2022]\s)?\s*(\S+)\s*", line)) is None:
            break
        is_marked = is_marked or one[1] is not None
        words.append(one[2].rstrip("."))
    return " ".join(words) if is_marked or len(words) > 1 else ""
