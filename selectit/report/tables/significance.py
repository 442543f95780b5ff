"""Sentences under the table about its tests: what was tested, how it was corrected, what could not be.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selectit.report.render import formats
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.table import AVERAGE, MARKS
from selectit.statistics import ALPHA
from selectit.statistics.equivalence import POWER


def significance(comparisons: Comparisons) -> list[str]:
    """Sentences under the table: the tests and marks, and what one seed cannot show."""
    if not comparisons.found:
        return []
    if not comparisons.tested_over_items:
        return [f"No row could be compared with a baseline: {_reasons(comparisons.found)}."]
    sentences = []
    if tested := comparisons.tested:
        primary = "the primary comparison alone" if any(c.primary for c in tested) else ""
        rest = f"after Holm's correction over the {comparisons.num_corrected} distinct comparisons of this table"
        rest += _average_too(tested)
        how = f"{primary}, the others {rest}" if primary else rest
        sentences.append(
            f"{MARKS['better']} better, {MARKS['worse']} worse than the first baseline: two-sided tests over training "
            f"seeds and over items, p < {ALPHA:g} {how}; each is in comparisons.csv. No mark: not "
            "significant, or not tested."
        )
        sentences.append(_smallest(tested))
    few = [c for c in comparisons.found if c.word == "too few seeds"]
    if few:
        sentences.append(
            f"No statement about the method where there is no error over seeds: {_reasons(few)}. Tests over items, "
            "which are about the trained models alone, are in comparisons.csv."
        )
    if missing := [c for c in comparisons.found if c.word == "not compared" and c.benchmark != AVERAGE]:
        sentences.append(f"Not compared: {_reasons(missing)}.")
    return [sentence for sentence in sentences if sentence]


def _smallest(tested: Sequence[Comparison]) -> str:
    """What the table could have shown: of those on the average where there are any."""
    on_average = [c for c in tested if c.benchmark == AVERAGE] or tested
    found = [c.detectable for c in on_average if c.detectable is not None]
    if not found:
        return ""
    where = "the average" if on_average[0].benchmark == AVERAGE else "a benchmark"
    if min(found) > 1:
        return (
            f"No difference on {where}, however large, would have been shown with {POWER:.0%} power: there are too few "
            "seeds for so many comparisons."
        )
    sizes = " to ".join(dict.fromkeys(map(formats.size, (min(found), max(found)))))
    return f"The smallest difference on {where} that this table could have shown ({POWER:.0%} power): {sizes} points."


def _average_too(tested: Sequence[Comparison]) -> str:
    return ", including the average" if any(c.benchmark == AVERAGE for c in tested) else ""


def _reasons(missing: Sequence[Comparison]) -> str:
    """Each reason once, with the rows that it is true of."""
    places: dict[str, dict[str, list[str]]] = {}
    for comparison in missing:
        benchmarks = places.setdefault(comparison.reason, {}).setdefault(comparison.row, [])
        if comparison.benchmark not in benchmarks:
            benchmarks.append(comparison.benchmark)
    reasons = []
    for reason, rows in places.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for row, benchmarks in rows.items():
            alike.setdefault(tuple(benchmarks), []).append(row)
        found = [f"{formats.names(labels)} on {formats.names(where)}" for where, labels in alike.items()]
        reasons.append(f"{reason} ({'; '.join(found)})")
    return "; ".join(reasons)
