"""A pool in some dozen bytes a row: its ids, and which of its rows have equal texts.

The texts themselves stay on disk: they are read again, some thousand rows at a time, when they are wanted.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from selectit.config import PoolConfig
from selectit.data.duplicates import first_of_equal
from selectit.data.pool import Row, iter_pool
from selectit.errors import UserError

CHUNK_ROWS = 4096
"""Rows that are read, and texts that are tokenised and sorted by length, together."""
DIGEST_BYTES = 16


class PoolIndex:
    """What is kept of a pool while it is scored; distinct texts are numbered in the order of their first rows.

    Args:
        pool: read whole here, and again by each `groups`.
        text_of: the parts that two rows must have in common to have equal texts.
        read: the rows of the pool, or several for each of them, with ids and indices of their own.
    """

    def __init__(
        self,
        pool: PoolConfig,
        text_of: Callable[[Row], Iterable[str]],
        read: Callable[[PoolConfig], Iterator[Row]] = iter_pool,
    ) -> None:
        self._pool, self._text_of, self._read = pool, text_of, read
        self.failures: Counter[str] = Counter()
        """Why rows can be neither scored nor selected."""
        row_ids, digests, usable = [], [], []
        first: Row | None = None
        shortest: Row | None = None
        longest: Row | None = None
        for rows in _chunks(read(pool)):
            row_ids.append(pa.array([row.row_id for row in rows], pa.string()))
            digests.append(self._digests_of(rows))
            usable.append(np.array([row.failure is None for row in rows]))
            self.failures.update(row.failure for row in rows if row.failure is not None)
            for row in rows:
                if row.failure is None:
                    first = first or row
                    shortest = row if shortest is None or len(row.response) < len(shortest.response) else shortest
                    longest = row if longest is None or len(row.response) > len(longest.response) else longest
        self.row_ids: pa.Array = pa.concat_arrays(row_ids)
        del row_ids  # or the peak would hold all of them twice
        self.examples = list({row.index: row for row in (first, shortest, longest) if row is not None}.values())
        """Usable rows: the first one and those of the shortest and the longest response. Empty where none is usable."""
        self._digests = np.concatenate(digests)
        del digests
        first_of = first_of_equal(self._digests)  # int32 [num_rows]
        good = np.concatenate(usable)
        self._is_first = good & (first_of == np.arange(len(first_of)))
        self._number = np.cumsum(self._is_first, dtype=np.int32)[first_of] - np.int32(1)  # int32 [num_rows]
        self._number[~good] = -1
        repeated = np.flatnonzero(good & ~self._is_first).astype(np.int32)
        self._repeated = repeated[np.argsort(self._number[repeated], kind="stable")]  # rows, by number of their text
        self._repeats = self._number[self._repeated]
        self.num_rows, self.num_usable = len(good), int(good.sum())
        self.num_texts = int(self._is_first.sum())

    def groups(self, done: np.ndarray, share: tuple[int, int] = (0, 1)) -> Iterator[list[list[Row]]]:
        """The rows that are not done, those of one text together, CHUNK_ROWS texts of the share at a time.

        What is done changes no chunk but for what it leaves out of it. Later rows of a text carry their index and
        row id; the rest of them is the first one's.

        Args:
            done: bool [num_rows].
            share: rank and world size; of all the pool's distinct texts, those whose number modulo world size is rank.
        Raises: UserError where the pool is not what it was when the index was made.
        """
        rank, world_size = share
        wanted = np.zeros(self.num_texts, dtype=bool)
        wanted[self._number[(self._number >= 0) & ~done]] = True
        wanted[np.arange(self.num_texts) % world_size != rank] = False
        if not wanted.any():
            return
        chunk: list[list[Row]] = []
        num_texts = 0
        for rows in self._read_again():
            numbers = self._number[rows[0].index : rows[-1].index + 1]
            own = self._is_first[rows[0].index : rows[-1].index + 1] & (numbers % world_size == rank)
            starts = np.searchsorted(self._repeats, numbers[own])
            ends = np.searchsorted(self._repeats, numbers[own], side="right")
            for row, is_wanted, start, end in zip(
                itertools.compress(rows, own), wanted[numbers[own]], starts, ends, strict=True
            ):
                if is_wanted:
                    chunk.append(self._group(row, self._repeated[start:end], done))
                num_texts += 1
                if num_texts % CHUNK_ROWS == 0:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def rows_of(self, share: tuple[int, int]) -> np.ndarray:
        """Args: share: as `groups` takes it. Returns: bool [num_rows], the usable rows with its texts."""
        rank, world_size = share
        return (self._number >= 0) & (self._number % world_size == rank)

    def _group(self, row: Row, later: np.ndarray, done: np.ndarray) -> list[Row]:
        group = [] if done[row.index] else [row]
        group += [replace(row, index=at, row_id=self.row_ids[at].as_py()) for at in later[~done[later]].tolist()]
        return group

    def _read_again(self) -> Iterator[list[Row]]:
        num_rows = 0
        for rows in _chunks(self._read(self._pool)):
            known = self._digests[num_rows : num_rows + len(rows)]
            digests = self._digests_of(rows)
            if len(known) < len(rows):
                raise self._changed(f"it had {self.num_rows} rows and has more")
            if different := np.flatnonzero((digests != known).any(axis=1)).tolist():
                raise self._changed(f"row {num_rows + different[0]} has another text")
            num_rows += len(rows)
            yield rows
        if num_rows < self.num_rows:
            raise self._changed(f"it had {self.num_rows} rows and has {num_rows}")

    def _changed(self, what: str) -> UserError:
        return UserError(
            f"pool {self._pool.path} was changed while it was scored: {what}. What is scored is kept: put the file "
            "back as it was and run again to resume. A run with the new file starts anew."
        )

    def _digests_of(self, rows: Sequence[Row]) -> np.ndarray:
        """uint64 [len(rows), 2]."""
        return np.frombuffer(b"".join(_digest(self._text_of(row)) for row in rows), dtype="<u8").reshape(-1, 2)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        yield chunk


def _digest(parts: Iterable[str]) -> bytes:
    """Each part stands behind its length, so that no two lists of parts are written the same."""
    written = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
