"""What each arm chose: lengths, how far its score follows length, calculation rows, and rows to read.

Computed from scores.jsonl and messages.jsonl of the selections.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.stats import spearmanr

from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.subsets import Subset, first_seed
from selectit.report.tables.texts import RowText, Texts
from selectit.selection.ranking import ranking

COLUMNS = (
    "arm", "response, characters", "response, words", "instruction, characters", "calculation rows",
    "score and response length",
)  # fmt: skip
EXPRESSION = re.compile(r"\d\s*[+*×÷=]\s*\d|\d\s+[-−–/]\s+\d")
"""Two numbers with an operator between; minus and slash need spaces, for dates and ranges have them too."""
KEYWORDS = re.compile(
    r"\b(calculat\w*|comput(?:e|ing)|solve|equation|arithmetic|multipl(?:y|ied)|divided? by|square root|sum of|"
    r"product of|average of|perimeter|percent(?:age)? of|how (?:many|much))\b",
    re.IGNORECASE,
)
RULE = (
    "Calculation rows: a digit in the instruction, and either an operator between two numbers in instruction or "
    "response, or a word such as calculate, equation, sum of, how many in the instruction (the whole rule is in "
    "selectit/report/sections/composition.py). Lengths are means over the subset. The last column is Spearman's rank "
    "correlation over all scored rows of the pool: near 1, the selector takes long responses. Where there are several "
    "selection seeds: lowest to highest."
)
NUM_SAMPLES = 3
SAMPLE_CHARS = 300
MOST_CORRELATED = 16
CORRELATIONS_NOTE = (
    "Spearman's rank correlation of the two scores over the rows that both score; overlap: rows in both subsets over "
    "rows in either."
)


@dataclass(frozen=True)
class Sample:
    """One row of the pool, to be read."""

    place: str
    """top, middle or bottom of the ranking"""
    rank: int
    score: float
    row_id: str
    text: RowText | None
    """Cut; None where no arm selected the row."""


@dataclass(frozen=True)
class ArmSamples:
    """A part of the page."""

    macro: ClassVar[str] = "samples"
    label: str
    samples: tuple[Sample, ...]


def is_calculation(text: RowText) -> bool:
    if not re.search(r"\d", text.instruction):
        return False
    return bool(EXPRESSION.search(text.whole) or KEYWORDS.search(text.instruction))


def composition(subsets: Sequence[Subset], texts: Texts) -> tuple[Section | None, dict[tuple[str, str], float]]:
    """One line per arm; and (row label, property) -> its mean, as published numbers name it."""
    measured = {
        subset.pool: _measure(subset.all_ids, texts[subset.pool]) for subset in {s.pool: s for s in subsets}.values()
    }
    by_row: dict[str, list[dict[str, float | None]]] = {}
    for subset in subsets:
        own = measured[subset.pool][subset.selected].mean(axis=0)
        by_row.setdefault(subset.row.label, []).append(
            {
                "response_chars": float(np.mean(subset.response_chars[subset.selected])),
                "response_words": float(own[0]),
                "instruction_length": float(own[1]),
                "calculation_rows": 100 * float(own[2]),
                "correlation": _follows_length(subset),
            }
        )
    write: dict[str, Any] = {
        "response_chars": formats.count, "response_words": "{:.1f}".format, "instruction_length": formats.count,
        "calculation_rows": "{:.2f} %".format, "correlation": signed,
    }  # fmt: skip
    rows = [
        (label, *(formats.spread((one[name] for one in found), how) for name, how in write.items()))
        for label, found in by_row.items()
    ]
    means = {
        (label, name): float(np.mean([one[name] for one in found]))
        for label, found in by_row.items()
        for name in ("instruction_length", "calculation_rows")
    }
    section = Section("Selected rows", (Listing(COLUMNS, tuple(rows)), Note(RULE)), anchor="chosen")
    return section if rows else None, means


def _measure(row_ids: Sequence[str], texts: Mapping[str, RowText]) -> np.ndarray:
    """float64 [num_rows, 3]: words of the response, characters of the instruction, 1 if a calculation; NaN: no text."""
    found = np.full((len(row_ids), 3), np.nan)
    for at, row_id in enumerate(row_ids):
        if text := texts.get(row_id):
            found[at] = len(text.response.split()), len(text.instruction), is_calculation(text)
    return found


def _follows_length(subset: Subset) -> float | None:
    if subset.config.select.score_name() is None:
        return None
    return rank_correlation(subset.scores, subset.response_chars)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's, over the rows where both are known; None where one of them is the same for all rows."""
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 3 or np.ptp(one[known]) == 0 or np.ptp(other[known]) == 0:
        return None
    return float(spearmanr(one[known], other[known]).statistic)


def ranked(subsets: Sequence[Subset]) -> list[Subset]:
    """One subset of each arm whose score depends on the row."""
    return [s for s in first_seed(subsets) if s.config.select.score_name() is not None]


def correlations(subsets: Sequence[Subset]) -> Section | None:
    """Each pair of arms that score rows of one pool."""
    pairs = itertools.combinations(ranked(subsets)[:MOST_CORRELATED], 2)
    rows = []
    for one, other in pairs:
        if one.pool == other.pool:
            found = rank_correlation(one.scores, other.scores)
            common = len(one.row_ids & other.row_ids) / len(one.row_ids | other.row_ids)
            rows.append((one.row.label, other.row.label, ABSENT if found is None else signed(found), f"{common:.2f}"))
    listing = Listing(("arm", "other arm", "rank correlation", "overlap"), tuple(rows), num_text_columns=2)
    return Section("Rank correlation between arms", (listing, Note(CORRELATIONS_NOTE))) if rows else None


def samples(subsets: Sequence[Subset], texts: Texts) -> Section | None:
    """Rows from the top, the middle and the bottom of each ranking."""
    found = [ArmSamples(subset.row.label, _samples(subset, texts)) for subset in ranked(subsets)]
    return Section("Sample rows: top, middle and bottom of each ranking", found) if found else None


def _samples(subset: Subset, texts: Texts) -> tuple[Sample, ...]:
    order = ranking(subset.scores)[: int(np.isfinite(subset.scores).sum())]
    middle = max(0, len(order) // 2 - NUM_SAMPLES // 2)
    places = {"top": 0, "middle": middle, "bottom": max(0, len(order) - NUM_SAMPLES)}
    found = []
    for place, start in places.items():
        for rank, index in enumerate(order[start : start + NUM_SAMPLES], start=start + 1):
            row_id = subset.all_ids[index]
            text = texts[subset.pool].get(row_id)
            cut = None if text is None else RowText(_cut(text.instruction), _cut(text.response))
            found.append(Sample(place, rank, float(subset.scores[index]), row_id, cut))
    return tuple(found)


def _cut(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARS else f"{text[:SAMPLE_CHARS].rstrip()} …"


def signed(correlation: float) -> str:
    return f"{correlation:+.2f}".replace("-", "−")
