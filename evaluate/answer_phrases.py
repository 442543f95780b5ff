"""Where a text announces its answer: `The answer is ...`, `Answer: ...`, `#### ...`, `\\boxed{...}`."""

from __future__ import annotations

import re

_ANNOUNCEMENT = re.compile(
    r"\banswer\b[^.\n\d]{0,80}?(?:\bis\b|\bare\b|\bequals\b|\bwould be\b|:|=)(?:\*\*|\s|:)*|####\s*|\\boxed\s*\{",
    re.IGNORECASE,
)
_END_OF_SENTENCE = re.compile(r"[.!?](?![\w])|\n")


def announced_texts(text: str) -> list[str]:
    """What follows each announcement, up to the next one, in order."""
    found = list(_ANNOUNCEMENT.finditer(text))
    starts = [match.start() for match in found[1:]]
    return [text[match.end() : end] for match, end in zip(found, [*starts, len(text)], strict=False)]


def announced(text: str) -> list[str]:
    """The rest of each announcing sentence, in order; a point within a number or word does not end it."""
    return [first_sentence(rest) for rest in announced_texts(text)]


def first_sentence(text: str) -> str:
    return _END_OF_SENTENCE.split(text.lstrip(), maxsplit=1)[0].strip()


def without(text: str, question: str) -> str:
    """The text without verbatim copies of the question, in which its numbers and options stand."""
    return text.replace(question.strip(), " ") if question.strip() else text
