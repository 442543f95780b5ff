"""Where a text announces its answer: `The answer is ...`, `Answer: ...`, `#### ...`, `<answer>`, `\\boxed{...}`."""

from __future__ import annotations

import re

_ANNOUNCEMENT = re.compile(
    r"(?<!to )\b(?:answer(?!\s+(?:this|the|these|those|your|that|it|questions?)\b)"
    r"|(?:correct|right|best) (?:option|choice))\b[^.\n\d]{0,80}?"
    r"(?:\bis that (?:it|there) (?:is|are)\b|\b(?:is|are|equals|would be)\b|:|="
    r"|\b(?:must|should|will|has to) be\b(?=\W*(?:\d|(?-i:[A-Z])\b)))(?:\*\*|\s|:)*"
    r"|^[#* \t]*(?:final )?answer[* \t]*\n\s*|<answer>\s*"
    r"|####[ \t]*(?![^\n]*:)(?!\d+[.)]\s+[A-Za-z])(?!(?:step|part|case|question|problem|example|answer)\b)"
    r"|\\boxed\s*\{",
    re.IGNORECASE | re.MULTILINE,
)
"""To answer a question, and the headings of steps (#### Step 1), announce nothing."""
_FORMAT = re.compile(r"\\(?:text|textbf|mathbf|mathrm|mbox)\s*\{(.*)\}")
_END_OF_SENTENCE = re.compile(r"[.!?](?![\w])|\n")


def announced_texts(text: str) -> list[str]:
    """What follows each announcement, up to the next one, in order; of a box what stands in it."""
    found = list(_ANNOUNCEMENT.finditer(text))
    starts = [match.start() for match in found[1:]]
    rests = [text[match.end() : end] for match, end in zip(found, [*starts, len(text)], strict=False)]
    return [
        _in_box(rest) if match[0].endswith("{") else unfenced(rest.partition("</answer>")[0])
        for match, rest in zip(found, rests, strict=True)
    ]


def _in_box(rest: str) -> str:
    """Up to the last brace of the line, as an answer may hold brackets that do not close."""
    line = rest.lstrip().split("\n")[0]
    inside = _FORMAT.sub(r"\1", line.rpartition("}")[0] or line)
    return inside.replace("\\{", "{").replace("\\}", "}")


def unfenced(rest: str) -> str:
    """An answer in a fenced block is what stands in it."""
    fenced = re.match(r"\s*```[a-z]*[ \t]*\n(.*?)(?:```|\Z)", rest, re.DOTALL)
    return fenced[1] if fenced else rest


def announced(text: str) -> list[str]:
    """The rest of each announcing sentence, in order; a point within a number or word does not end it."""
    return [first_sentence(rest) for rest in announced_texts(text)]


def first_sentence(text: str) -> str:
    return _END_OF_SENTENCE.split(text.lstrip(), maxsplit=1)[0].strip()


def without(text: str, question: str) -> str:
    """The text without verbatim copies of the question, in which its numbers and options stand."""
    return text.replace(question.strip(), " ") if question.strip() else text
