"""The ledger: one record per (row, rating prompt), kept on disk as it comes.

While scoring, records go to `ledger/part-FIRST-LAST.parquet`, each put in place whole; at the end they become
`ledger.parquet`. What a killed run had written is read back and not scored again.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.config import NUM_RATINGS

LEDGER = "ledger.parquet"
PARTS = "ledger"
FLUSH_SECONDS = 2
MERGED_PARTS = 32
"""So many parts of one size become one: a run of days leaves some dozen files behind, not a hundred thousand."""
DIGEST_BYTES = 16
SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("prompt", pa.int32()),
        ("probabilities", pa.list_(pa.float64(), NUM_RATINGS)),
        ("mass", pa.float64()),
        ("num_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("failure", pa.string()),
        ("digest", pa.binary(DIGEST_BYTES)),
        ("taken_from", pa.string()),
    ]
)


@dataclass(frozen=True)
class Record:
    """What one rater said of one row under one rating prompt.

    `probabilities` are the next-token probabilities of "1".."5" over the whole vocabulary and `mass` their
    sum; both are None where `failure` names why there are none. `prompt` counts from 0 in the stage's list.
    `digest` is that of the text's token ids; `taken_from` names the artifact that had rated the same ids.
    """

    row_id: str
    prompt: int
    probabilities: list[float] | None
    mass: float | None
    num_tokens: int
    truncated: bool
    failure: str | None = None
    digest: bytes | None = None
    taken_from: str | None = None


class LedgerWriter:
    """Collects records and flushes them every two seconds.

    Args:
        out: the stage's folder.
        schema: columns of the records; the first two are their key: the row id, and what stands under one another
            in the finished ledger (the rating prompt).
    """

    def __init__(self, out: Path, schema: pa.Schema = SCHEMA) -> None:
        self._out, self._parts, self._schema = out, out / PARTS, schema
        self._parts.mkdir(exist_ok=True)
        self._records: list[Any] = []
        self._flushed = time.monotonic()
        _drop_merged(self._parts)
        self._number = max((part.last for part in _parts(self._parts)), default=-1) + 1

    def done(self) -> set[tuple[str, Any]]:
        """The keys of everything that is on disk already."""
        keys: set[tuple[str, Any]] = set()
        for part in _parts(self._parts):
            table = parquet.read_table(part.path, columns=self._schema.names[:2])
            keys.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return keys

    def add(self, records: Sequence[Any]) -> None:
        """Args: records: dataclasses with the columns of the schema."""
        self._records += records
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._records:
            names = [field.name for field in fields(self._records[0])]
            columns = {name: [getattr(record, name) for record in self._records] for name in names}
            table = pa.Table.from_pydict(columns, self._schema)
            _write(iter([table]), self._schema, _Part.path_of(self._parts, self._number, self._number))
            self._number += 1
            self._records = []
            self._merge()
        self._flushed = time.monotonic()

    def _merge(self) -> None:
        """The newest parts of one size become one part, as long as there are enough of them."""
        while True:
            newest = _parts(self._parts)[-MERGED_PARTS:]
            if len(newest) < MERGED_PARTS or len({part.last - part.first for part in newest}) > 1:
                return
            merged = _Part.path_of(self._parts, newest[0].first, newest[-1].last)
            _write((parquet.read_table(part.path) for part in newest), self._schema, merged)
            _drop_merged(self._parts)

    def finish(self, order: Sequence[str]) -> Path:
        """Write `ledger.parquet`, prompt by prompt in the order of the row ids, and drop the parts.

        One rating prompt's records are in memory at a time.
        """
        group = self._schema.names[1]
        self.flush()
        parts = [part.path for part in _parts(self._parts)]
        prompts = sorted({p for part in parts for p in compute.unique(_column(part, group)).to_pylist()})
        row_ids = pa.array(order, pa.string())
        tables = (_sorted(_under(parts, self._schema, group, prompt), row_ids) for prompt in prompts)
        path = self._out / LEDGER
        _write(tables, self._schema, path)
        shutil.rmtree(self._parts)
        return path


def _column(path: Path, name: str) -> pa.ChunkedArray:
    return parquet.read_table(path, columns=[name])[name]


def _under(paths: Sequence[Path], schema: pa.Schema, group: str, value: Any) -> pa.Table:
    """The records of one rating prompt; row groups of others are not read."""
    return pa.concat_tables(
        [schema.empty_table(), *(parquet.read_table(path, filters=[(group, "=", value)]) for path in paths)]
    )


def _sorted(table: pa.Table, row_ids: pa.Array) -> pa.Table:
    position = compute.index_in(table["row_id"], value_set=row_ids).to_numpy()
    return table.take(np.argsort(position, kind="stable"))


def _write(tables: Iterator[pa.Table], schema: pa.Schema, path: Path) -> None:
    """One row group or more for each table; the file is put in place whole."""
    part = path.with_suffix(".tmp")
    with parquet.ParquetWriter(part, schema) as writer:
        for table in tables:
            writer.write_table(table)
    os.replace(part, path)


@dataclass(frozen=True)
class _Part:
    """One file of records: those of the flushes `first` to `last`."""

    path: Path
    first: int
    last: int

    @staticmethod
    def path_of(folder: Path, first: int, last: int) -> Path:
        return folder / f"part-{first:07d}-{last:07d}.parquet"


def _parts(folder: Path) -> list[_Part]:
    """In the order in which they were written."""
    found = []
    for path in folder.glob("part-*.parquet"):
        if name := re.fullmatch(r"part-(\d+)-(\d+)", path.stem):
            found.append(_Part(path, int(name[1]), int(name[2])))
    return sorted(found, key=lambda part: (part.first, part.last))


def _drop_merged(folder: Path) -> None:
    """Delete the parts that a larger one holds; a killed run may have left both."""
    covered = -1
    for part in sorted(_parts(folder), key=lambda part: (part.first, -part.last)):
        if part.last <= covered:
            part.path.unlink()
        covered = max(covered, part.last)


@dataclass(frozen=True)
class Ratings:
    """A ledger as arrays. Rows without a rating hold NaN."""

    probabilities: np.ndarray  # float64 [num_rows, num_prompts, NUM_RATINGS]
    failures: list[str | None]
    """Per row: why it has no rating under some prompt."""


def read_ratings(ledger: Path, row_ids: Sequence[str], prompts: Sequence[int]) -> Ratings:
    """Join a ledger to row ids.

    Args: prompts: positions in the score stage's prompt list, in the order wanted.
    """
    wanted = pa.array(row_ids, pa.string())
    probabilities = np.full((len(row_ids), len(prompts), NUM_RATINGS), np.nan)
    failures: list[str | None] = [None] * len(row_ids)
    columns = ["row_id", "probabilities", "failure"]
    for column, prompt in enumerate(prompts):
        table = parquet.read_table(ledger, columns=columns, filters=[("prompt", "=", prompt)])
        table = table.append_column("place", compute.index_in(table["row_id"], value_set=wanted))
        table = table.filter(compute.is_valid(table["place"]))
        rated = table.filter(compute.is_null(table["failure"]))
        probabilities[rated["place"].to_numpy(), column] = ratings_of(rated)
        failed = table.filter(compute.is_valid(table["failure"]))
        for place, failure in zip(failed["place"].to_pylist(), failed["failure"].to_pylist(), strict=True):
            failures[place] = failure
    for place in np.flatnonzero(np.isnan(probabilities).any(axis=(1, 2))):
        failures[place] = failures[place] or "not_scored"
    return Ratings(probabilities, failures)


def ratings_of(table: pa.Table) -> np.ndarray:
    """float64 [num_records, NUM_RATINGS] of records without a failure."""
    return table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, NUM_RATINGS)
