"""Answers that must be worth nothing, and right ones, for any benchmark whose answers are texts."""

import random
import re

from selectit.evaluate.results import Item

GIBBERISH = "Xq wvf lorem 🜁 zzt; pfff qwerty"
BRACKETS = "[](){}<>"


def items_of(docs, texts, task="task"):
    return [
        Item(task, n, doc, "", [text], None, "", None) for n, (doc, text) in enumerate(zip(docs, texts, strict=True))
    ]


def gold_of(doc):
    """The right answer in the words of its row, for the benchmarks that have one."""
    if "final_answers" in doc:
        return doc["final_answers"][0]
    if "answers" in doc:
        return doc["answers"][0]
    return str(doc.get("target", doc.get("answer", ""))).split("####")[-1].strip()


def wrong_answers(docs, question_of, right_answer):
    """{kind: a text per item, or None where that kind cannot be distinguished from a right answer}."""
    rights = [right_answer(doc) for doc in docs]
    return {
        "empty": ["" for _ in docs],
        "blank": [" \n\t" for _ in docs],
        "gibberish": [GIBBERISH for _ in docs],
        "the next item's answer": [_next(docs, rights, n) for n in range(len(docs))],
        "the sign flipped": [_flipped(doc, right) for doc, right in zip(docs, rights, strict=True)],
        "brackets shuffled": [_shuffled(doc, right) for doc, right in zip(docs, rights, strict=True)],
        "the question repeated": [question_of(doc) for doc in docs],
    }


def _next(docs, rights, n):
    own = gold_of(docs[n]).strip("$")
    for step in range(1, len(docs)):
        other = docs[(n + step) % len(docs)]
        if gold_of(other).strip("$") != own and not _contains(gold_of(other), own):
            return rights[(n + step) % len(docs)]
    return None


def _contains(text, own):
    """x=5 next to 5 means the same."""
    return text.rpartition("=")[2].strip("$ ") == own.rpartition("=")[2].strip("$ ")


def _flipped(doc, right):
    gold = gold_of(doc).strip("$")
    if not re.fullmatch(r"-?(\d[\d.,e+-]*|\\frac\{\d+\}\{\d+\})", gold) or not re.search("[1-9]", gold):
        return None
    flipped = gold[1:] if gold.startswith("-") else f"-{gold}"
    return right.replace(gold, flipped)


def _shuffled(doc, right):
    gold = gold_of(doc)
    brackets = [sign for sign in gold if sign in BRACKETS]
    if not gold or set(gold) - set(BRACKETS + " ") or len(set(brackets)) < 2:
        return None
    drawn = random.Random(len(gold))
    shuffled = list(brackets)
    while shuffled == brackets:
        drawn.shuffle(shuffled)
    return right.replace(gold, " ".join(shuffled))
