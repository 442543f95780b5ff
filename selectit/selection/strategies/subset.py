"""The rows of a pool that stand in another file: somebody's own subset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from selectit.config import ArmConfig, PoolConfig
from selectit.data.content import content_of
from selectit.data.pool import Row, iter_pool
from selectit.errors import UserError
from selectit.selection.strategy import Candidates, Scored, Strategy
from selectit.store.first_fields import LATER_DEFAULTS

NOT_IN_IT = "not_in_the_file"


class SubsetSelect(PoolConfig, Strategy):
    """The rows whose roles and texts equal those of the rows of a file, such as the authors' own subset."""

    later_defaults: ClassVar[Mapping[str, Any]] = LATER_DEFAULTS.get(PoolConfig.__name__, {})

    strategy: Literal["subset"]

    def score_name(self) -> None:
        return None

    def preflight(self, pool: Candidates) -> None:
        found_rows(self, pool)

    def scores(self, pool: Candidates) -> Scored:
        found, record = found_rows(self, pool)
        others = np.flatnonzero(pool.usable & ~found).tolist()
        return Scored(np.ones(len(pool)), left_out=dict.fromkeys(others, NOT_IN_IT), record=record)

    def sentence(self, arm: ArmConfig) -> str:
        return f"the rows of {Path(self.path).name}, found by their texts"

    def notes(self, selection: Mapping[str, Any]) -> list[str]:
        return [
            f"{selection['num_found']:,} of the {selection['num_rows_of_file']:,} rows of {Path(self.path).name} are "
            f"found in the pool by their texts (not found: {selection['num_not_found']:,}; more than once in the pool: "
            f"{selection['num_found_twice']:,})"
        ]

    def expected_rows(self, num_rows: int, num_of_other: int) -> int:
        return min(num_rows, sum(1 for _ in iter_pool(self)))


def _rows_of(file: PoolConfig) -> Iterator[Row]:
    try:
        yield from iter_pool(file)
    except UserError as error:
        raise UserError(
            f"{error} This file is select.path, not of `pool`, so what is said of pool's fields and options is set "
            "in `select` (such as --set bad_rows=exclude)"
        ) from error


def found_rows(file: PoolConfig, pool: Candidates) -> tuple[np.ndarray, dict[str, int]]:
    """The rows of a pool that equal a row of a file. A content that the pool has more than once is taken as often as
    the file has it, the first rows of it.

    Returns: bool [num_rows]; what selection.json says of the rows of the file.
    Raises:  UserError where the pool has none of them.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for row in pool.rows():
        if pool.failures[row.index] is None:
            places[content_of(row.messages)].append(row.index)
    twice = {content for content, at in places.items() if len(at) > 1}
    taken = {content: iter(at) for content, at in places.items()}
    found = np.zeros(len(pool), dtype=bool)
    num_rows = num_twice = 0
    for row in _rows_of(file):
        content = content_of(row.messages)
        num_rows += 1
        num_twice += content in twice
        if (at := next(taken.get(content, iter(())), None)) is not None:
            found[at] = True
    if not found.any():
        raise UserError(
            f"select.path {file.path}: none of its {num_rows} rows is in pool {pool.stage.pool.path}; a row is found "
            "by its roles and texts, so the file must be a part of this pool, in any format"
        )
    num_found = int(found.sum())
    return found, {
        "num_rows_of_file": num_rows,
        "num_found": num_found,
        "num_not_found": num_rows - num_found,
        "num_found_twice": num_twice,
    }
