"""The comparisons in words and as a listing: what was tested, how it was corrected, what differs, what could not be.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selectit.report import formats
from selectit.report.comparisons import Comparison, Comparisons
from selectit.report.formats import ABSENT, Listing
from selectit.report.table import AVERAGE, MARKS
from selectit.statistics import ALPHA, CONFIDENCE

MOST_FINDINGS = 24
COLUMNS = (
    "row", "baseline", "benchmark", "word", "test", "items", "runs", "difference", f"{CONFIDENCE:.0%} interval", "p",
    "p, Holm",
)  # fmt: skip

LISTING_NOTE = (
    "p: two-sided, of the paired test. p, Holm: corrected for all comparisons of the table; the word and the marks "
    "follow from it. Runs: evaluations of the row and of the baseline, over which an item's score is averaged. "
    "Difference and interval in points; the interval is a paired bootstrap and is not corrected."
)


def significance(comparisons: Comparisons) -> list[str]:
    """Sentences under the table: the tests and marks, and what one seed cannot show."""
    tested = comparisons.tested
    if not comparisons.found:
        return []
    if not tested:
        return [f"No row could be tested against the baseline: {_reasons(comparisons.found)}."]
    kinds = formats.names([kind for kind in ("McNemar", "sign flips") if any(c.test.startswith(kind) for c in tested)])
    sentences = [
        f"{MARKS['better']} better, {MARKS['worse']} worse than the baseline row, no mark: no difference shown. Paired "
        f"tests over items ({kinds}), two-sided, p < {ALPHA:g} after Holm's correction over all {len(tested)} "
        f"comparisons of this table{_average_too(tested)}; each is in comparisons.csv."
    ]
    if any(c.num_runs == c.num_baseline_runs == 1 for c in tested):
        sentences.append(
            "A test over items says whether two trained models differ, not whether the same would come out of other "
            "seeds; rows with one run each say nothing of that."
        )
    if missing := [c for c in comparisons.found if c.p is None and c.benchmark != AVERAGE]:
        sentences.append(f"Not compared: {_reasons(missing)}.")
    return sentences


def _average_too(tested: Sequence[Comparison]) -> str:
    return ", those of the average among them" if any(c.benchmark == AVERAGE for c in tested) else ""


def _reasons(missing: Sequence[Comparison]) -> str:
    """Each reason once, with the rows that it is true of."""
    places: dict[str, dict[str, list[str]]] = {}
    for comparison in missing:
        places.setdefault(comparison.reason, {}).setdefault(comparison.row, []).append(comparison.benchmark)
    told = []
    for reason, rows in places.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for row, benchmarks in rows.items():
            alike.setdefault(tuple(benchmarks), []).append(row)
        found = [f"{formats.names(labels)} on {formats.names(where)}" for where, labels in alike.items()]
        told.append(f"{reason} ({'; '.join(found)})")
    return "; ".join(told)


def findings(comparisons: Comparisons) -> list[str]:
    """One sentence for each comparison that is better or worse, or one that says that there is none."""
    told = [
        f"{c.row} is {c.word} than {c.baseline} on {'the average' if c.benchmark == AVERAGE else c.benchmark}: "
        f"{_points(c.difference)} points, {CONFIDENCE:.0%} interval {_interval(c)}, p {p_value(c.p_holm)} after Holm."
        for c in comparisons.tested
        if c.word in MARKS
    ]
    if len(told) > MOST_FINDINGS:
        told[MOST_FINDINGS:] = [
            f"{len(told) - MOST_FINDINGS} more comparisons show a difference; comparisons.csv has them."
        ]
    if told or not comparisons.tested:
        return told
    return [f"In none of the {len(comparisons.tested)} comparisons is a difference shown."]


def listing(comparisons: Comparisons) -> Listing:
    """Every comparison that was made; those that were not are told under the table."""
    rows = [
        (
            c.row, c.baseline, c.benchmark, c.word, c.test, formats.count(c.num_items or 0),
            f"{c.num_runs} and {c.num_baseline_runs}", _points(c.difference), _interval(c), p_value(c.p),
            p_value(c.p_holm),
        )
        for c in comparisons.tested
    ]  # fmt: skip
    return Listing(COLUMNS, tuple(rows), num_text_columns=5)


def p_value(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def _points(fraction: float | None) -> str:
    return ABSENT if fraction is None else formats.points(formats.percent(fraction))


def _interval(comparison: Comparison) -> str:
    if comparison.low is None or comparison.high is None:
        return ABSENT
    return f"{_points(comparison.low)} to {_points(comparison.high)}"
