"""How benchmarks and rows are called in a paper's table, which shows no underscores.

Reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selectit.evaluate.benchmarks.registry import benchmarks

ROWS = {"selectit": "SelectIT", "ifd": "IFD"}


def column_names(columns: Sequence[str]) -> list[str]:
    return _distinct(columns, {name: one.display_name for name, one in benchmarks().items()})


def row_names(labels: Sequence[str]) -> list[str]:
    return _distinct(labels, ROWS)


def _distinct(names: Sequence[str], known: dict[str, str]) -> list[str]:
    """As shown; names that would be shown alike stay as they are."""
    shown = [_shown(name, known) for name in names]
    times = Counter(shown)
    return [own if times[own] == 1 else name for own, name in zip(shown, names, strict=True)]


def _shown(name: str, known: dict[str, str]) -> str:
    """What stands in brackets, a judge or a point of the grid, stays as it is."""
    base, bracket, rest = name.partition(" (")
    return known.get(base, base.replace("_", " ")) + bracket + rest
