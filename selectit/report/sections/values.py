"""Every single value behind the table: one line for each row and combination of seeds, each value with its artifact.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from selectit.plan.graph import Plan
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Note, Section
from selectit.report.tables.results import Result

NOTE = (
    "Percent. Seeds are select/train/eval. Each value leads to the artifact folder that it was read from, as long as "
    "this page lies in its runs folder or in an exported pack. A dash: the value does not depend on the seed that "
    "differs and is in another line of its row, or the row leaves the benchmark out."
)


@dataclass(frozen=True)
class Value:
    text: str
    """Percent, or the word for a missing result."""
    folder: str = ""
    """Name of the artifact folder; empty where there is none."""


@dataclass(frozen=True)
class ValueLine:
    seeds: str
    values: tuple[Value, ...]
    """One for each benchmark of the table."""


@dataclass(frozen=True)
class SingleValues:
    """A part of the page."""

    macro: ClassVar[str] = "single_values"
    benchmarks: Sequence[str]
    labels: Sequence[str]
    lines: Sequence[Sequence[ValueLine]]
    """Of each label."""


def section(plan: Plan, results: Sequence[Result], benchmarks: Sequence[str]) -> Section:
    of: dict[int, dict[str, dict[str, Value]]] = {}
    number = {id(row): index for index, row in enumerate(plan.rows)}
    for result in results:
        cell = result.cell
        seeds = f"{cell.select_seed}/{cell.train_seed}/{cell.eval_seed}"
        of.setdefault(number[id(result.row)], {}).setdefault(seeds, {})[cell.benchmark] = _value(result)
    lines = [
        [
            ValueLine(seeds, tuple(found.get(name, Value(ABSENT)) for name in benchmarks))
            for seeds, found in of.get(index, {}).items()
        ]
        for index in range(len(plan.rows))
    ]
    values = SingleValues(benchmarks, [row.label for row in plan.rows], lines)
    return Section("Every single value", (values, Note(NOTE)))


def _value(result: Result) -> Value:
    folder = result.artifact.path.name if result.artifact else ""
    if result.missing is not None or result.value is None:
        return Value(result.missing.kind if result.missing else ABSENT, folder)
    return Value(formats.value(formats.percent(result.value)), folder)
