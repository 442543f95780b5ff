"""The word of each comparison: better, worse, equivalent or not significant, and what each may be said of.

A word is about the method and rests on the test over training seeds and items. Two models without training have no
seeds; their test over items is the test of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selectit.plan.graph import Plan
from selectit.report.tables.comparisons import Comparison, Comparisons, RowError, Word
from selectit.report.tables.results import recipe_of
from selectit.report.tables.table import AVERAGE, Table
from selectit.statistics import ALPHA
from selectit.statistics.method import Spread, detectable, is_equivalent
from selectit.statistics.paired import holm


@dataclass(frozen=True)
class Tested:
    """A comparison, and which evaluations stand on its two sides: rows of equal subsets share them."""

    comparison: Comparison
    sides: tuple[tuple[str, ...], tuple[str, ...]]
    spread: Spread | None = None
    """What the difference is tested against; None where nothing is said of the methods."""

    @property
    def key(self) -> tuple[frozenset[tuple[str, ...]], bool]:
        """What makes a comparison another one; the average's sides hold those of all benchmarks."""
        return frozenset(self.sides), self.comparison.benchmark == AVERAGE


def judged(plan: Plan, table: Table, found: Sequence[Tested], errors: Sequence[RowError]) -> Comparisons:
    """The comparisons with Holm's p-values over the distinct ones, and the words that follow from them."""
    config = recipe_of(plan).config
    primary = [is_primary(plan, table, one.comparison) for one in found]
    rest = [one for one, first in zip(found, primary, strict=True) if not first]
    corrected = _holm([(one.key, one.comparison.p) for one in rest])
    over_items = _holm([(one.key, one.comparison.items_p) for one in found])
    level = ALPHA / max(1, len(corrected))
    words = []
    for one, first in zip(found, primary, strict=True):
        p = one.comparison.p if first else corrected.get(one.key)
        comparison = replace(one.comparison, primary=first, p_holm=p, items_p_holm=over_items.get(one.key))
        smallest = detectable(one.spread, ALPHA if first else level) if one.spread else None
        word = _word(comparison, one.spread, config.margin / 100)
        words.append(replace(comparison, word=word, detectable=smallest))
    return Comparisons(tuple(words), tuple(errors), len(corrected))


def is_primary(plan: Plan, table: Table, comparison: Comparison) -> bool:
    named = recipe_of(plan).config.primary
    if named is None:
        return False
    arms = {row.label: row.arm for row in plan.rows}
    on = named.on
    if on == AVERAGE and len(table.averaged) == 1:
        on = table.averaged[0]
    rows = (comparison.row, comparison.baseline)
    wanted = (named.row, named.against)
    return comparison.benchmark == on and all(w in (r, arms[r]) for w, r in zip(wanted, rows, strict=True))


def _holm(tests: Sequence[tuple[object, float | None]]) -> dict[object, float]:
    distinct = {key: p for key, p in tests if p is not None}
    return dict(zip(distinct, holm(list(distinct.values())), strict=True))


def _word(comparison: Comparison, found: Spread | None, margin: float) -> Word:
    """Args: margin: within which two methods are equivalent, a fraction."""
    if comparison.p_holm is None or comparison.difference is None:
        return "too few seeds" if comparison.items_p is not None else "not compared"
    if comparison.p_holm < ALPHA:
        return "better" if comparison.difference > 0 else "worse"
    if found and is_equivalent(comparison.difference, found, margin):
        return "equivalent"
    return "not significant"
