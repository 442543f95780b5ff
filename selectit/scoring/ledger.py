"""The ledger: one record per (row, rating prompt), kept on disk as it comes.

While scoring, records go to `ledger/part-FIRST-LAST.parquet`, each put in place whole; at the end they become
`ledger.parquet`. What a killed run had written is read back and not scored again.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.config import NUM_RATINGS
from selectit.data.whole_files import whole_file
from selectit.store.names import LEDGER

PARTS = "ledger"
NOT_SCORED = "not_scored"
"""A row that stands in no record."""
TOO_LONG = "too_long"
"""A text beyond max_length that is not to be cut."""
FLUSH_SECONDS = 2
MERGED_PARTS = 32
"""So many parts of one size become one: a run of days leaves some dozen files behind, not a hundred thousand."""
JOIN_RECORDS = 2**17
"""So many records, and one row group, are in memory at a time while records are joined to rows."""
JOIN_BYTES = 2**27
"""The same of records with vectors, which are columns of bytes of one length: fewer where these would be more."""
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
        own_folder: below `ledger/`, where this process writes; several may write at once, each into its own.
    """

    def __init__(self, out: Path, schema: pa.Schema = SCHEMA, own_folder: str | None = None) -> None:
        self._out, self._schema = out, schema
        self._parts = out / PARTS / (own_folder or "")
        self._parts.mkdir(exist_ok=True, parents=True)
        self._records: list[Any] = []
        self._flushed = time.monotonic()
        _drop_merged(self._parts)
        self._number = max((part.last for part in _parts(self._parts)), default=-1) + 1

    def done(self, row_ids: pa.Array, groups: Sequence[Any]) -> np.ndarray:
        """What is on disk already, of all processes.

        Args:    groups: values of the second column, such as the numbers of the rating prompts.
        Returns: bool [len(groups), len(row_ids)].
        """
        return recorded(self._out, self._schema, row_ids, groups)

    def add(self, records: Sequence[Any]) -> None:
        """Args: records: dataclasses with the columns of the schema."""
        self._records += records
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._records:
            columns = {name: [getattr(record, name) for record in self._records] for name in self._schema.names}
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
            tables = _tables([part.path for part in newest], self._schema.names, at_once(self._schema))
            _write(tables, self._schema, merged)
            _drop_merged(self._parts)

    def finish(self, row_ids: pa.Array, schema: pa.Schema | None = None) -> Path:
        """Write `ledger.parquet`, prompt by prompt in the order of the row ids. The parts stay until `drop_parts`.

        Args: schema: the columns that it is to have; None: all of them.
        """
        key = self._schema.names[:2]
        self.flush()
        paths = _all_parts(self._out)
        groups = {group for table in _tables(paths, key[1:]) for group in compute.unique(table[key[1]]).to_pylist()}
        path = self._out / LEDGER
        tables = (
            table
            for group in sorted(groups)
            for _, table in in_order(self._out, schema or self._schema, row_ids, group)
        )
        _write(tables, schema or self._schema, path)
        return path


def in_order(out: Path, schema: pa.Schema, row_ids: pa.Array, group: Any) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """The records of one group in the order of the row ids, `at_once` rows at a time.

    Args:    schema: the columns that are wanted, the key first.
    Returns: of each part the rows that have a record, as positions in `row_ids`, and their records.
    """
    paths, step = _all_parts(out), at_once(schema)
    places = _places(paths, schema.names[:2], group, row_ids)
    with contextlib.ExitStack() as opened:
        parts = [opened.enter_context(parquet.ParquetFile(part)) for part in paths]
        for start in range(0, len(places), step):
            own = places[start : start + step]
            yield start + np.flatnonzero(own >= 0), _picked(parts, schema, own)


def at_once(schema: pa.Schema) -> int:
    """Records that are in memory together."""
    width = sum(one.type.byte_width for one in schema if pa.types.is_fixed_size_binary(one.type))
    return max(1, min(JOIN_RECORDS, JOIN_BYTES // max(width, 1)))


def recorded(out: Path, schema: pa.Schema, row_ids: pa.Array, groups: Sequence[Any]) -> np.ndarray:
    """What an unfinished ledger holds; nothing is written.

    Args:    out: the stage's folder, in which nothing may be yet; groups: as `LedgerWriter.done` takes them.
    Returns: bool [len(groups), len(row_ids)].
    """
    while True:
        paths = _all_parts(out)
        try:
            return np.stack([_places(paths, schema.names[:2], group, row_ids) >= 0 for group in groups])
        except FileNotFoundError:  # another process has just merged it into a larger one
            continue


def _all_parts(out: Path) -> list[Path]:
    """The files that hold the records; places of records are counted through them, in this order."""
    folder = out / PARTS
    if not folder.is_dir():
        return []
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [part.path for each in folders for part in _parts(each)]


def drop_parts(out: Path) -> None:
    """Last of all: until then a killed stage goes on from them."""
    shutil.rmtree(out / PARTS)


def _tables(paths: Sequence[Path], columns: Sequence[str], step: int | None = None) -> Iterator[pa.Table]:
    """All records in order; at most 2 * `step` of them at a time, JOIN_RECORDS without it."""
    step = step or JOIN_RECORDS
    held: list[pa.RecordBatch] = []
    for path in paths:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(step, columns=list(columns)):
                held.append(batch)
                if sum(map(len, held)) >= step:
                    yield pa.Table.from_batches(held)
                    held = []
    if held:
        yield pa.Table.from_batches(held)


def _places(paths: Sequence[Path], key: Sequence[str], group: Any, row_ids: pa.Array) -> np.ndarray:
    """Where the record of each row is.

    Args:    key: names of the columns of the row id and of the group.
    Returns: int64 [len(row_ids)], the record's number in the files' order; -1 where there is none.
    """
    places = np.full(len(row_ids), -1)
    num_records = 0
    for table in _tables(paths, key):
        numbers = np.flatnonzero(compute.equal(table[key[1]], group).to_numpy())
        if len(numbers):
            own = table[key[0]].combine_chunks().take(pa.array(numbers))
            found = compute.index_in(row_ids, value_set=own).fill_null(-1).to_numpy()
            places[found >= 0] = num_records + numbers[found[found >= 0]]
        num_records += len(table)
    return places


def _picked(parts: Sequence[parquet.ParquetFile], schema: pa.Schema, places: np.ndarray) -> pa.Table:
    """The records at these places, in their order. Args: places: -1 is passed over."""
    places = places[places >= 0]
    wanted = np.sort(places)
    tables = [schema.empty_table()]
    num_records = 0
    for part in parts:
        for number in range(part.num_row_groups):
            size = part.metadata.row_group(number).num_rows
            start, end = np.searchsorted(wanted, [num_records, num_records + size])
            if start < end:
                group = part.read_row_group(number, columns=schema.names)
                tables.append(group.take(pa.array(wanted[start:end] - num_records)))
            num_records += size
    return pa.concat_tables(tables).take(pa.array(np.searchsorted(wanted, places)))


def _write(tables: Iterator[pa.Table], schema: pa.Schema, path: Path) -> None:
    """One row group or more for each table; the file is put in place whole. Vectors are written as they are: no two
    are equal, and numbers of a model do not compress.
    """
    plain = [
        one.name for one in schema if pa.types.is_fixed_size_binary(one.type) and one.type.byte_width > DIGEST_BYTES
    ]
    others = [name for name in schema.names if name not in plain]
    how: dict[str, Any] = {"compression": {name: "NONE" if name in plain else "SNAPPY" for name in schema.names}}
    how |= {"use_dictionary": others, "write_statistics": others}
    with whole_file(path) as part, parquet.ParquetWriter(part, schema, **(how if plain else {})) as writer:
        for table in tables:
            writer.write_table(table)


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


def read_ratings(ledger: Path, row_ids: Sequence[str] | pa.Array, prompts: Sequence[int]) -> Ratings:
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
        failures[place] = failures[place] or NOT_SCORED
    return Ratings(probabilities, failures)


def ratings_of(table: pa.Table) -> np.ndarray:
    """float64 [num_records, NUM_RATINGS] of records without a failure."""
    return table["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, NUM_RATINGS)


def value_counts(column: Any) -> Counter[str]:
    """Of a column of texts, nulls left out."""
    counted = compute.value_counts(column.drop_null())
    return Counter({pair["values"].as_py(): pair["counts"].as_py() for pair in counted})
