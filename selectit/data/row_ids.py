"""Ids of a pool's rows, and the seeded draws that depend on them alone: the random strategies and `pool.sample`."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from selectit.config import PoolConfig
from selectit.errors import UserError

if TYPE_CHECKING:
    import numpy as np

DRAW = "pool.sample"
"""What a pool's draw is for, where a strategy names itself."""
ReadRows = Callable[[PoolConfig], Iterable[Any]]
"""The rows of a pool's file as they stand there."""


def uniform_number(purpose: str, seed: int, row_id: str) -> float:
    """A number in [0, 1) from sha256, the same on any platform and in any order of the rows.

    Taking the rows of the highest numbers is a uniform draw without replacement; a larger draw with the same purpose
    and seed holds every smaller one, and draws of two purposes are independent.
    """
    digest = hashlib.sha256(f"{purpose}\n{seed}\n{row_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def check_is_object(pool: PoolConfig, position: int, row: Any) -> None:
    if not isinstance(row, dict):
        raise UserError(f"pool {pool.path}, row {position}: found {type(row).__name__}; a row is an object")


def content_hash(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def own_id(value: Any) -> str:
    """An `id` as text; half of a character is written out, such as `\\ud83d`, for ids are written to files."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def row_id(position: int, row: Mapping[str, Any]) -> str:
    """The row's own id, else its position in the file and its content hash."""
    own = row.get("id")
    return f"{position}-{content_hash(row)[:8]}" if own is None else own_id(own)


class RowIds:
    """Ids of a pool's rows, one row after the other: their own, or position and content hash where none has one.

    Of an id of its own, eight bytes are kept.
    """

    def __init__(self, pool: PoolConfig, read: ReadRows) -> None:
        self._pool, self._read = pool, read
        self._hashes = array("q")

    def of(self, position: int, row: Mapping[str, Any]) -> str:
        own = row.get("id")
        if own is None and not self._hashes:
            return row_id(position, row)
        if own is None or position > len(self._hashes):
            raise UserError(
                f"pool {self._pool.path}, row {position if own is None else 0}: no 'id', but other rows have one. "
                "Give every row an id, or none (position and content hash are used then)."
            )
        self._hashes.append(hash(named := own_id(own)))
        return named

    def check(self) -> None:
        """Raises: UserError for an id that stands twice; rows of equal hash are read again, so it is certain."""
        import numpy as np

        hashes = np.array(self._hashes)
        order = np.argsort(hashes, kind="stable")
        equal = np.flatnonzero(np.diff(hashes[order]) == 0)
        suspects = {*order[equal].tolist(), *order[equal + 1].tolist()}
        seen: dict[str, int] = {}
        for position, row in enumerate(self._read(self._pool)) if suspects else ():
            if position not in suspects:
                continue
            if (own := own_id(row["id"])) in seen:
                raise UserError(
                    f"pool {self._pool.path}, row {position}: id '{own}' stands in row {seen[own]} already. "
                    "Remove the repeated row, or the id column (position and content hash are used then)."
                )
            seen[own] = position


def draw(pool: PoolConfig, read: ReadRows) -> np.ndarray:
    """What `pool.sample` draws: int64 [sample.num_rows], positions in the file, ascending.

    Raises: UserError for a pool with fewer rows, for a row that is not an object, and as `RowIds` does.
    """
    import numpy as np

    assert pool.sample is not None
    ids, numbers = RowIds(pool, read), array("d")
    for position, row in enumerate(read(pool)):
        check_is_object(pool, position, row)
        numbers.append(uniform_number(DRAW, pool.sample.seed, ids.of(position, row)))
    ids.check()
    wanted = pool.sample.num_rows
    if len(numbers) < wanted:
        raise UserError(
            f"pool {pool.path}: pool.sample.num_rows is {wanted}, and the pool has {len(numbers)} rows; lower it, or "
            "set pool.sample to null for all of them"
        )
    drawn: np.ndarray = np.sort(np.argsort(np.array(numbers), kind="stable")[::-1][:wanted])
    drawn.flags.writeable = False
    return drawn
