"""Options of a question, A to Z, read out of a model's text, and the grader of questions with lettered options.

An option is named behind its announcement ("The answer is (B)"), the last one where there are several, or by what a
text ends with. Several options at once, and one that is denied, are no answer; no letter is ever drawn or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from selectit.evaluate.grading.answer_phrases import announced_texts, first_sentence, without
from selectit.evaluate.grading.graded import Graded

LETTERS = "ABCDEFGHIJ"
OPTION = re.compile(r"^\(([A-Z])\)\s*(.*?)\s*$", re.MULTILINE)
_LEAD = re.compile(
    r"\W{0,5}(?:(?:that|it is|it's|this is|therefore|thus|clearly|indeed|most likely|probably)\s+)*"
    r"(?:the\s+)?(?:(?:option|choice)\s+)?",
    re.IGNORECASE,
)
"""What may stand between an announcement and its option."""
_LETTER = re.compile(
    r"[\s*\"'`$]{0,5}(?P<bracket>[(\[])?[\s*\"'`]{0,5}(?P<letter>[A-Za-z])(?!\w|'\w)[\s*\"'`$]{0,5}(?P<closed>[)\]])?"
)
_ENDS_LETTER = re.compile(r"[\s*\"'`$]{0,5}(?:$|[.:,;)}\u2013-]|\(|(?:because|since|as|and|or)\b)")
_ANOTHER_LETTER = re.compile(r"[\s*.:,;/&]{0,5}(?:(?:and|or)\b)?[\s*\"'`]{0,5}(?:\(([A-Z])\)|([A-Z])(?![\w']))")
NEGATED = re.compile(r"\b(?:not|cannot|neither|nor|except|wrong|incorrect)\b|n't\b", re.IGNORECASE)
_WRONG = re.compile(r"\s*(?:is|was)(?:n't\b|\s+(?:not|wrong|incorrect)\b)", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
_IS_RIGHT = re.compile(
    r"\(([A-Z])\)[*\s]+(?:is|must be) (?:thus |therefore )?(?:the )?(?:correct|right|best)"
    r"(?: (?:answer|option|choice))?[.!*\s]*$"
)
_ALONE = re.compile(r"(?<![A-Za-z'])[A-J](?![A-Za-z'])|^\W*[a-j](?![A-Za-z'])")
_LISTED = re.compile(r"^\W{0,3}[A-J][.):]", re.MULTILINE)
"""A line of a list of options, such as a copy of the question's."""


def grade_options(text: str, doc: Mapping[str, Any]) -> Graded:
    """Args: doc: with `question`, `options` and `answer`, the letter of the right one."""
    read = read_letter(without(text, str(doc["question"])), len(doc["options"]))
    return Graded(read, float(read == doc["answer"]))


def read_letter(text: str, num_options: int) -> str | None:
    """The letter of the last announcement that has one; without announcements the one that the last line is or names.

    Args: num_options: 2 to 10.
    """
    options = dict.fromkeys(LETTERS[:num_options], "")  # options are read by letter alone: an answer of 2.5 is no "2"
    rests = announced_texts(text)
    for rest in reversed(rests):
        if _ALONE.search(first_sentence(rest)):
            return read_option(rest.strip(), options, whole=False)
    if rests or len(_LISTED.findall(text)) > 1:
        return None
    return read_option(text.strip().split("\n")[-1], options, whole=True)


def read_option(rest: str, options: Mapping[str, str], whole: bool) -> str | None:
    """A letter in brackets, a letter alone, or an option's own text; several, or one that is denied, are no answer."""
    sentence = first_line(rest) if whole else first_sentence(rest)
    if whole and OPTION.search(rest.partition("\n")[2]):  # a copy of the list of options
        return None
    texts = [plain_words(text) for text in options.values()]
    letters = {plain_words(text): letter for letter, text in options.items() if texts.count(plain_words(text)) == 1}
    if (letter := letters.get(plain_words(rest.split("\n")[0].rstrip(". ")))) is not None:
        return letter
    if whole and len(sentence) != len(rest.strip().rstrip(".")):
        return _named_as_right(rest, options)
    if re.match(r"\W*(?:that\s+)?(?:it is\s+)?(?:definitely |certainly )?not\b", sentence, re.IGNORECASE):
        return None
    lead = _LEAD.match(sentence)
    assert lead is not None
    for start in (sentence, sentence[lead.end() :].strip()):
        if (found := _LETTER.match(start)) and found["letter"].upper() in options:
            behind = start[found.end() :]
            if found["bracket"] or found["closed"] or _ENDS_LETTER.match(behind):
                another = _ANOTHER_LETTER.match(behind)
                is_one = not (another and (another[1] or another[2]) in options) and not _WRONG.match(behind)
                return found["letter"].upper() if is_one else None
    named = _starts_with_text(sentence[lead.end() :], letters)
    if named is not None or whole:
        return named or _named_as_right(rest, options)
    mentioned = set(_IN_BRACKETS.findall(sentence))
    if len(mentioned) != 1 or not mentioned <= set(options) or NEGATED.search(sentence):
        return None
    if re.search(r"(?:\bor|\band|/|&)\s*\([A-Z]\)|\([A-Z]\)(?:\w|\s*(?:or\b|and\b|/|&))", sentence):
        return None
    return mentioned.pop()


def _named_as_right(rest: str, options: Mapping[str, str]) -> str | None:
    """B of a text that ends with `(B) is the correct answer`."""
    last = rest.strip().split("\n")[-1]
    found = _IS_RIGHT.search(last)
    is_alone = found is not None and set(_IN_BRACKETS.findall(last)) == {found[1]} and not NEGATED.search(last)
    return found[1] if found is not None and is_alone and found[1] in options else None


def _starts_with_text(sentence: str, letters: Mapping[str, str]) -> str | None:
    """The option whose text a sentence starts with, the longest of several."""
    said = f"{plain_words(sentence)} "
    starts = [text for text in letters if text and said.startswith(f"{text} ")]
    if not starts:
        return None
    text = max(starts, key=len)
    behind = said[len(text) :].strip()
    if re.match(r"(?:or|and|is not|isn t|is wrong|is incorrect)\b", behind):
        return None
    return letters[text]


def first_line(text: str) -> str:
    return text.strip().split("\n")[0].strip().rstrip(".")


def plain_words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
