"""The comparisons in words and as a listing: what was tested, how it was corrected, what differs, what could not be.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selectit.report.render import formats
from selectit.report.render.formats import ABSENT, Listing
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.table import AVERAGE, MARKS
from selectit.statistics import ALPHA, CONFIDENCE
from selectit.statistics.method import POWER

MOST_FINDINGS = 24
COLUMNS = (
    "row", "baseline", "benchmark", "method", "test", "seeds", "difference", f"{CONFIDENCE:.0%} interval", "p",
    "p, Holm", "detectable", "items", "p, items",
)  # fmt: skip

LISTING_NOTE = (
    "Points. Method: what may be said of the method; the difference must stand out from the spread over training seeds "
    "(to which the choice of items is added) and from the error over items. Seeds: training seeds of the test. Holm: p "
    "corrected for all distinct comparisons but the primary one (marked *). Detectable: the smallest true difference "
    f"that the comparison would have found with {POWER:.0%} power. p, items: a test over the items alone, corrected in "
    "the same way; it is about the models that were trained, not about other training seeds."
)


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
    sizes = " to ".join(dict.fromkeys(map(_size, (min(found), max(found)))))
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


def findings(comparisons: Comparisons) -> list[str]:
    """The primary comparison, then one sentence for each that is better, worse or equivalent; of the trained models
    where nothing can be said of the methods.
    """
    primary = [c for c in comparisons.found if c.primary]
    sentences = [f"Primary comparison: {_primary(c)}" for c in primary]
    words = [c for c in comparisons.tested if c.word in (*MARKS, "equivalent") and not c.primary]
    sentences += [_sentence(c) for c in words[:MOST_FINDINGS]]
    if len(words) > MOST_FINDINGS:
        sentences.append(f"{len(words) - MOST_FINDINGS} more comparisons have a result; comparisons.csv has them.")
    if comparisons.tested and not words and not primary:
        sentences.append(f"None of the {len(comparisons.tested)} comparisons of methods is significant.")
    return sentences + _of_trained_models(comparisons)


def _primary(c: Comparison) -> str:
    if c.p is None:
        return f"{c.row} against {c.baseline} on {_where(c)}: {c.reason}."
    if c.word in (*MARKS, "equivalent"):
        return _sentence(c)
    return (
        f"{c.row} against {c.baseline} on {_where(c)}: not significant, {_points(c.difference)} points, "
        f"{CONFIDENCE:.0%} interval {_interval(c)}, p {p_value(c.p)}; smallest detectable difference "
        f"{_size(c.detectable)} points."
    )


def _sentence(c: Comparison) -> str:
    than = "equivalent to" if c.word == "equivalent" else f"{c.word} than"
    corrected = "" if c.primary else " after Holm"
    p = "" if c.word == "equivalent" else f", p {p_value(c.p_holm)}{corrected}"
    seeds = f" over {c.num_seeds} training seeds" if c.num_seeds else ""
    return (
        f"{c.row} is {than} {c.baseline} on {_where(c)}{seeds}: {_points(c.difference)} points, {CONFIDENCE:.0%} "
        f"interval {_interval(c)}{p}."
    )


def _of_trained_models(comparisons: Comparisons) -> list[str]:
    """Where a row has one training seed: what the items say of its model."""
    few = [c for c in comparisons.found if c.word == "too few seeds"]
    differ = [c for c in few if c.items_p_holm is not None and c.items_p_holm < ALPHA]
    sentences = [
        f"The trained model of {c.row} scores {'higher' if (c.difference or 0) > 0 else 'lower'} than that of "
        f"{c.baseline} on {_where(c)}: {_points(c.difference)} points, p {p_value(c.items_p_holm)} over items after "
        "Holm. Another training seed may give another result."
        for c in differ[:MOST_FINDINGS]
    ]
    if len(differ) > MOST_FINDINGS:
        sentences.append(
            f"{len(differ) - MOST_FINDINGS} more pairs of trained models differ; comparisons.csv has them."
        )
    if few and not differ:
        sentences.append(
            f"No two of the trained models that were compared differ significantly over items ({len(few)} tests)."
        )
    return sentences


def _where(c: Comparison) -> str:
    return "the average" if c.benchmark == AVERAGE else c.benchmark


def listing(comparisons: Comparisons) -> Listing:
    """Every comparison that was made; those that were not are named under the table."""
    rows = [
        (
            f"{c.row}{' *' if c.primary else ''}", c.baseline, c.benchmark, c.word, c.test or c.reason,
            ABSENT if c.num_seeds is None else str(c.num_seeds), _points(c.difference), _interval(c), p_value(c.p),
            p_value(c.p_holm), _size(c.detectable), formats.count(c.num_items or 0), p_value(c.items_p_holm),
        )
        for c in comparisons.tested_over_items
    ]  # fmt: skip
    return Listing(COLUMNS, tuple(rows), num_text_columns=5)


def p_value(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def _points(fraction: float | None) -> str:
    return ABSENT if fraction is None else formats.points(formats.percent(fraction))


def _size(fraction: float | None) -> str:
    """In points; two values between 0 and 100 do not differ by more than 100."""
    return ABSENT if fraction is None else "over 100" if fraction > 1 else f"{formats.percent(fraction):.1f}"


def _interval(comparison: Comparison) -> str:
    if comparison.low is None or comparison.high is None:
        return ABSENT
    return f"{_points(comparison.low)} to {_points(comparison.high)}"
