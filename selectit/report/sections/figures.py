"""What a plot of the report is, and which rows it shows where there are too many. Reads and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from selectit.plan.graph import TableRow
from selectit.report.tables.subsets import Subset

MOST_PANELS = 12
MOST_CURVES = 24


@dataclass(frozen=True)
class Plot:
    """A part of the page."""

    macro: ClassVar[str] = "plot"
    title: str
    svg: str
    caption: str


def in_turn(rows: Sequence[TableRow], most: int) -> list[int]:
    """Positions of at most so many rows, in their order: one of each arm, then a second of each, and so on."""
    turns: Counter[str] = Counter()
    order = []
    for at, row in enumerate(rows):
        order.append((turns[row.arm], at))
        turns[row.arm] += 1
    return sorted(at for _, at in sorted(order)[:most])


def shown_of(subsets: Sequence[Subset], most: int) -> list[Subset]:
    return [subsets[at] for at in in_turn([s.row for s in subsets], most)]


def left_out(count: int, shown: int) -> str:
    return f" {shown} of {count} rows are shown, of each arm the first ones." if count > shown else ""
