"""The grader of TyDiQA: the words of an answer against the published ones, as lm-eval's task compares them.

Small letters, no punctuation, no articles (English and the Arabic one in front of a word). An answer of which nothing
is left then is unparsed.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

from selectit.evaluate.grading.graded import Graded

_ARTICLES = {"english": r"\b(a|an|the)\b", "arabic": r"(?:^|\s)\u0627\u0644"}


def grade_tydiqa(text: str, doc: Mapping[str, Any]) -> Graded:
    """The best over the published answers. The language stands at the start of the row's id."""
    language = str(doc["id"]).split("-")[0]
    found = normalized(text, language)
    if not found:
        return Graded(None, 0.0, {"exact_match": 0.0})
    golds = [normalized(gold, language) for gold in doc["answers"]]
    return Graded(
        text.strip(),
        max(f1(found, gold) for gold in golds),
        {"exact_match": max(float(found == gold) for gold in golds)},
    )


def normalized(text: str, language: str) -> str:
    kept = "".join(sign for sign in text.lower() if not _is_punctuation(sign))
    return " ".join(re.sub(_ARTICLES.get(language, r"(?!)"), " ", kept).split())


def _is_punctuation(sign: str) -> bool:
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")


def f1(found: str, gold: str) -> float:
    """Harmonic mean of the shares of words that both have. Source: SQuAD."""
    words, right = found.split(), gold.split()
    common = sum((Counter(words) & Counter(right)).values())
    return 2 * common / (len(words) + len(right)) if common else 0.0
