"""Ids of a pool's rows, and the seeded draws that depend on them alone: the random strategies and `pool.sample`."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable
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


def uniform_numbers(purpose: str, seed: int, row_ids: Iterable[str]) -> np.ndarray:
    """The same of several rows. Returns: float64 [len(row_ids)]."""
    import numpy as np

    sha256, prefix = hashlib.sha256, f"{purpose}\n{seed}\n"
    digests = b"".join([sha256((prefix + row_id).encode()).digest() for row_id in row_ids])
    return np.frombuffer(digests, ">u8")[::4] / 2**64


def content_hash(row: Any) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def own_id(value: Any) -> str:
    """An `id` as text; half of a character is written out, such as `\\ud83d`, for ids are written to files."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def row_id(position: int, row: Any, ids: str = "column") -> str:
    """The row's own id, else its position in the file and its content hash.

    Args: ids: as `pool.ids` has it.
    """
    own = _own(row, ids)
    return f"{position}-{content_hash(row)[:8]}" if own is None else own_id(own)


class RowIds:
    """Ids of a pool's rows, one row after the other: their own, or position and content hash where none has one.

    Of an id of its own, eight bytes are kept. A row that is not an object has neither kind, and any pool may hold it.
    The rows of a draw are looked at in the whole pool, when it is drawn.
    """

    def __init__(self, pool: PoolConfig, read: ReadRows) -> None:
        self._pool, self._read = pool, read
        self._hashes, self._positions = array("q"), array("q")
        self._without: int | None = None
        """Position of the first object that has no id."""

    def of(self, position: int, row: Any) -> str:
        """Raises: UserError where some rows have an id and others have none."""
        own = _own(row, self._pool.ids)
        if self._pool.sample is None and isinstance(row, dict):
            self._remember(position, own)
        return row_id(position, row, self._pool.ids)

    def _remember(self, position: int, own: Any) -> None:
        if own is None and self._without is None:
            self._without = position
        if own is not None:
            self._hashes.append(hash(own_id(own)))
            self._positions.append(position)
        if self._without is not None and self._hashes:
            raise UserError(
                f"pool {self._pool.path}, row {self._without}: no 'id', but other rows have one. Give every row an id, "
                "or none, or set pool.ids to position (--ids position): a row's id is then its position and content."
            )

    def check(self) -> None:
        """Raises: UserError for an id that stands twice; rows of equal hash are read again, so it is certain."""
        import numpy as np

        hashes, positions = np.array(self._hashes), np.array(self._positions)
        order = np.argsort(hashes, kind="stable")
        equal = np.flatnonzero(np.diff(hashes[order]) == 0)
        suspects = {*positions[order[equal]].tolist(), *positions[order[equal + 1]].tolist()}
        seen: dict[str, int] = {}
        for position, row in enumerate(self._read(self._pool)) if suspects else ():
            if position not in suspects:
                continue
            if (own := own_id(row["id"])) in seen:
                raise UserError(
                    f"pool {self._pool.path}, row {position}: id '{own}' stands in row {seen[own]} already. Remove the "
                    "repeated row, or set pool.ids to position (--ids position): a row's id is then its position and "
                    "content."
                )
            seen[own] = position


def _own(row: Any, ids: str) -> Any:
    return row.get("id") if ids == "column" and isinstance(row, dict) else None


def draw(pool: PoolConfig, read: ReadRows) -> np.ndarray:
    """What `pool.sample` draws: int64 [sample.num_rows], positions in the file, ascending.

    Raises: UserError for a pool with fewer rows, and as `RowIds` does.
    """
    import numpy as np

    assert pool.sample is not None
    ids, numbers = RowIds(pool.model_copy(update={"sample": None}), read), array("d")
    for position, row in enumerate(read(pool)):
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
