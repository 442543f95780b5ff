"""Every comparison with a baseline: the findings in words, and a listing of what was tested.

Reads and writes nothing.
"""

from __future__ import annotations

from selectit.report.render import formats
from selectit.report.render.formats import ABSENT, p_value, size
from selectit.report.section import Bullets, Folded, Listing, Note, Section
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.table import AVERAGE, MARKS
from selectit.statistics import ALPHA, CONFIDENCE
from selectit.statistics.equivalence import POWER

MOST_FINDINGS = 24
MOST_OPEN = 12
"""Comparisons that the page shows without a click."""
COLUMNS = (
    "row", "baseline", "benchmark", "method", "test", "seeds", "difference", f"{CONFIDENCE:.0%} interval", "p",
    "p, Holm", "detectable", "items", "p, items",
)  # fmt: skip
NOTE = (
    "Points. Method: what may be said of the method; the difference must stand out from the spread over training seeds "
    "(to which the choice of items is added) and from the error over items. Seeds: training seeds of the test. Holm: p "
    "corrected for all distinct comparisons but the primary one (marked *). Detectable: the smallest true difference "
    f"that the comparison would have found with {POWER:.0%} power. p, items: a test over the items alone, corrected in "
    "the same way; it is about the models that were trained, not about other training seeds."
)


def section(comparisons: Comparisons) -> Section | None:
    listing = _listing(comparisons)
    if not listing.rows:
        return None
    folded = Folded(f"All {len(listing.rows)} comparisons", listing, is_open=len(listing.rows) <= MOST_OPEN)
    parts = (Bullets(_findings(comparisons)), folded, Note(NOTE))
    return Section("Comparisons with the baselines", parts, anchor="tests", short="Tests")


def _findings(comparisons: Comparisons) -> list[str]:
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
        f"{size(c.detectable)} points."
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
    """Where a row has one training seed: what the items show of its model."""
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


def _listing(comparisons: Comparisons) -> Listing:
    """Every comparison that was made; those that were not are named under the table."""
    rows = [
        (
            f"{c.row}{' *' if c.primary else ''}", c.baseline, c.benchmark, c.word, c.test or c.reason,
            ABSENT if c.num_seeds is None else str(c.num_seeds), _points(c.difference), _interval(c), p_value(c.p),
            p_value(c.p_holm), size(c.detectable), formats.count(c.num_items or 0), p_value(c.items_p_holm),
        )
        for c in comparisons.tested_over_items
    ]  # fmt: skip
    return Listing(COLUMNS, tuple(rows), num_text_columns=5, title="Every comparison with the baseline")


def _points(fraction: float | None) -> str:
    return ABSENT if fraction is None else formats.points(formats.percent(fraction))


def _interval(comparison: Comparison) -> str:
    if comparison.low is None or comparison.high is None:
        return ABSENT
    return f"{_points(comparison.low)} to {_points(comparison.high)}"
