"""The items on which a row and its baseline row differ, with prompt and answers, for a reader of the page.

Reads items.jsonl of the evaluate artifacts, of one combination of seeds. Bounded, for the page is one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from selectit.plan.graph import Cell, Plan
from selectit.report.section import Note, Part, Section
from selectit.report.tables.item_texts import (
    MOST_ANSWER_CHARS,
    MOST_PROMPT_CHARS,
    ItemPair,
    chosen,
    differing,
    read_pairs,
)
from selectit.report.tables.results import Result, settings_of
from selectit.report.tables.table import baseline_of
from selectit.statistics.items import ItemScores, read_scores
from selectit.store.fingerprint import canonical_json
from selectit.store.names import ITEMS_FILE

MOST_PAIRS = 8
MOST_ITEMS = 8
NOTE = (
    "Two trained models, of the first combination of seeds that both rows have, item by item. Of what differs the page "
    f"shows at most {MOST_ITEMS} items for each benchmark and pair of rows, half of them where the row scores higher, "
    f"and at most {MOST_PAIRS} pairs; the counts are of all items. Prompts are shown without what all prompts of their "
    f"task begin with, up to {MOST_PROMPT_CHARS} characters; answers up to {MOST_ANSWER_CHARS}. All items: "
    "selectit compare, or items.jsonl of the artifacts."
)


@dataclass(frozen=True)
class DifferingItems:
    """One benchmark of a pair of rows."""

    benchmark: str
    num_items: int
    num_higher: int
    """Items that the row scores higher than the baseline row."""
    num_lower: int
    items: Sequence[ItemPair]


@dataclass(frozen=True)
class DifferingRows:
    """A part of the page."""

    macro: ClassVar[str] = "differing"
    row: str
    baseline: str
    seeds: str
    benchmarks: Sequence[DifferingItems]


def section(plan: Plan, results: Sequence[Result]) -> Section | None:
    """Each row with its first baseline row."""
    of: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.missing is None and not result.is_secondary and result.artifact is not None:
            of.setdefault((result.row.label, result.cell.benchmark), []).append(result)
    benchmarks = list(dict.fromkeys(benchmark for _, benchmark in of))
    read: dict[Path, ItemScores] = {}
    pairs = [(row.label, plan.rows[baseline_of(plan, row)].label) for row in plan.rows]
    found = []
    for row, baseline in pairs:
        if row == baseline:
            continue
        sides = [
            one
            for name in benchmarks
            if (one := _same_seeds(of.get((row, name), []), of.get((baseline, name), []))) is not None
        ]
        if sides:
            found.append((row, baseline, sides))
    if not found:
        return None
    more = f" {len(found) - MOST_PAIRS} more pairs of rows are not shown." if len(found) > MOST_PAIRS else ""
    parts: list[Part] = [Note(NOTE + more), *(_shown(*one, read) for one in found[:MOST_PAIRS])]
    return Section("Items on which rows differ", parts, anchor="items", short="Items")


def _same_seeds(ours: Sequence[Result], theirs: Sequence[Result]) -> tuple[Result, Result] | None:
    """The first two results with most seeds in common that are of two models asked in the same way."""
    pairs = [(one, other) for one in ours for other in theirs if _comparable(one, other)]
    return max(pairs, key=lambda pair: _num_equal(pair[0].cell, pair[1].cell)) if pairs else None


def _comparable(one: Result, other: Result) -> bool:
    if one.artifact is None or other.artifact is None or one.artifact.path == other.artifact.path:
        return False
    return canonical_json(settings_of(one.artifact)) == canonical_json(settings_of(other.artifact))


def _num_equal(one: Cell, other: Cell) -> int:
    return sum(
        getattr(one, name) == getattr(other, name) for name in ("select_seed", "train_seed", "eval_seed")
    )  # fmt: skip


def _shown(
    row: str, baseline: str, sides: Sequence[tuple[Result, Result]], read: dict[Path, ItemScores]
) -> DifferingRows:
    parts = []
    for one, other in sides:
        assert one.artifact is not None and other.artifact is not None
        ours, theirs = (artifact.path / ITEMS_FILE for artifact in (one.artifact, other.artifact))
        for path in (ours, theirs):
            if path not in read:
                read[path] = read_scores(path)
        both = differing(read[ours], read[theirs])
        items = read_pairs(ours, theirs, chosen(both, MOST_ITEMS))
        parts.append(
            DifferingItems(one.cell.benchmark, len(both.keys), len(both.higher), len(both.lower), items)
        )  # fmt: skip
    cells = sides[0][0].cell, sides[0][1].cell
    seeds = dict.fromkeys(f"{cell.select_seed}/{cell.train_seed}/{cell.eval_seed}" for cell in cells)
    return DifferingRows(row, baseline, " and ".join(seeds), parts)
