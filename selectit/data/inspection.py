"""What a pool holds, by one reading: its format, roles and turns, rows that cannot be used, repeats, unread columns.

Nothing is refused here but a pool in which no format is found: what would be is counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from selectit.config import PoolConfig
from selectit.data.content import content_of
from selectit.data.duplicates import earlier_equal
from selectit.data.files import raw_rows
from selectit.data.formats import Format, detected
from selectit.data.pool import Row, iter_pool
from selectit.data.row_ids import RowIds
from selectit.data.turns import is_nothing
from selectit.errors import UserError


@dataclass(frozen=True)
class Extent:
    """Of a number that each usable row has."""

    lowest: int
    median: float
    highest: int


@dataclass(frozen=True)
class Inspection:
    pool: str
    format: str
    columns: dict[str, str]
    """Part of a row -> the column that it is read from; parts that some row has."""
    num_rows: int
    num_usable: int
    failures: dict[str, int]
    """Rows that cannot be used, by kind, the most frequent first."""
    first_failures: dict[str, str]
    """Of each kind, the first such row and what is wrong with it."""
    ids: str | None
    """Why the ids cannot be used; None where they can."""
    roles: dict[str, int]
    """Turns of usable rows, by role."""
    num_untrained_turns: int
    """Turns of the assistant among them that are not trained on."""
    num_repeated: int
    """Usable rows that say what a row in front of them says."""
    unread_columns: dict[str, int]
    """Columns that are kept and not read -> rows in which they hold something."""
    turns: Extent | None
    instruction_chars: Extent | None
    response_chars: Extent | None
    first: Row | None
    """The first usable row."""


def inspect_pool(pool: PoolConfig) -> Inspection:
    """Raises: UserError for a pool that has no rows or cannot be read, or in which no format is found."""
    row_format: Format | None = None
    failures: Counter[str] = Counter()
    roles: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    first_failures: dict[str, str] = {}
    columns: dict[str, str] = {}
    first: Row | None = None
    num_rows = num_untrained = 0
    counts = {name: array("q") for name in ("turns", "instruction_chars", "response_chars")}
    contents = bytearray()
    ids = _Ids(pool)
    lenient = pool.model_copy(update={"bad_rows": "exclude", "ids": "position"})
    for row in iter_pool(lenient):
        row_format = row_format or detected(pool, row.raw)
        num_rows += 1
        ids.add(row)
        if row_format is not None and isinstance(row.raw, dict):
            unread.update(_unread(row_format, row.raw))
            columns |= {part: column for part, column in row_format.columns.items() if _holds(row.raw, column)}
        if row.failure is not None:
            failures[row.failure] += 1
            first_failures.setdefault(row.failure, f"row {row.index}{f': {row.reason}' if row.reason else ''}")
            continue
        first = first or row
        roles.update(message["role"] for message in row.messages)
        num_untrained += sum(not message.get("train", True) for message in row.messages)
        contents += content_of(row.messages)
        for name, value in zip(counts, (len(row.messages), len(row.instruction), len(row.response)), strict=True):
            counts[name].append(value)
    assert row_format is not None, "a pool without one is refused by its reader"
    num_usable = num_rows - failures.total()
    return Inspection(
        pool=pool.path,
        format=row_format.name,
        columns=columns,
        num_rows=num_rows,
        num_usable=num_usable,
        failures=dict(failures.most_common()),
        first_failures=first_failures,
        ids=ids.fault(),
        roles=dict(roles.most_common()),
        num_untrained_turns=num_untrained,
        num_repeated=int((earlier_equal(contents) >= 0).sum()),
        unread_columns=dict(unread.most_common()),
        first=first,
        **{name: _spread(values) for name, values in counts.items()},
    )


class _Ids:
    """The ids of a pool, whose first fault is kept."""

    def __init__(self, pool: PoolConfig) -> None:
        self._ids = RowIds(pool, raw_rows)
        self._fault: str | None = None

    def add(self, row: Row) -> None:
        if self._fault is None:
            try:
                self._ids.of(row.index, row.raw)
            except UserError as error:
                self._fault = str(error)

    def fault(self) -> str | None:
        if self._fault is None:
            try:
                self._ids.check()
            except UserError as error:
                self._fault = str(error)
        return self._fault


def _unread(row_format: Format, row: dict[str, Any]) -> list[str]:
    """Columns that hold something; of a nested one that is read in a part, the whole is called read."""
    read = {"id", *(column.split(".")[0] for column in row_format.read_columns()), *row_format.read_columns()}
    return [str(column) for column, value in row.items() if column not in read and not is_nothing(value)]


def _holds(row: dict[str, Any], column: str) -> bool:
    return bool(column) and not is_nothing(row.get(column, row.get(column.split(".")[0])))


def _spread(values: array[int]) -> Extent | None:
    if not values:
        return None
    found = np.array(values)
    return Extent(int(found.min()), float(np.median(found)), int(found.max()))
