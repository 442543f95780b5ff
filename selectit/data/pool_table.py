"""What is kept of a parsed pool: its rows as an Arrow table, and the rows of such a table.

A table is an Arrow IPC file that is memory mapped, with a row for each row of the pool: id, what is rated, messages,
why it cannot be used, and its raw form where that is JSON. `selectit.data.kept` has where tables lie.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from selectit.config import PoolConfig
from selectit.data.files import is_arrow, rows_in_file
from selectit.data.hashes import state_of
from selectit.data.jsonl_columns import json_texts
from selectit.data.row import Row, Unread

MESSAGE = pa.schema(
    {"role": pa.string(), "content": pa.string(), "input": pa.string(), "train": pa.bool_(), "call": pa.bool_()}
)
"""Of a turn; what a message does not have is null."""
SCHEMA = pa.schema(
    {
        "row_id": pa.string(), "instruction": pa.string(), "response": pa.string(), 
        "messages": pa.list_(pa.struct(list(MESSAGE))),
        "failure": pa.string(), "is_conversation": pa.bool_(), "reason": pa.string(), "stratum": pa.string(),
        "raw": pa.string(),
    }
)  # fmt: skip
"""`raw`: JSON, as a line of a JSONL subset; null for pools that are Arrow themselves, whose rows are read there."""


def batch_of(rows: Sequence[Row], with_raw: bool) -> pa.RecordBatch:
    """Rows as `SCHEMA` has them. Raises: pyarrow.ArrowInvalid for a message with something else."""
    if unknown := {key for row in rows for message in row.messages for key in message} - set(MESSAGE.names):
        raise pa.ArrowInvalid(f"no column for '{min(unknown)}' of a message")
    columns: dict[str, list[Any]] = {
        "row_id": [row.row_id for row in rows],
        "instruction": [row.instruction for row in rows],
        "response": [row.response for row in rows],
        "messages": [row.messages for row in rows],
        "failure": [row.failure for row in rows],
        "is_conversation": [row.is_conversation for row in rows],
        "reason": [row.reason for row in rows],
        "stratum": [row.stratum for row in rows],
        "raw": [_json(row.raw) for row in rows] if with_raw else [None] * len(rows),
    }
    return pa.record_batch([pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names], SCHEMA)


def _json(raw: Any) -> str:
    text = json.dumps(raw, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character stays what it is
        return json.dumps(raw)
    return text


class KeptPool:
    """A parsed pool.

    Args: path: of its table; pool: whose rows they are.
    """

    def __init__(self, path: Path, pool: PoolConfig) -> None:
        self._path, self._state, self._pool = path, state_of(path), pool
        self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self.num_rows = 0
        self.num_unusable = 0
        for batch in self._batches():
            self.num_rows += len(batch)
            failure = batch.column("failure")
            self.num_unusable += len(failure) - failure.null_count

    def is_unchanged(self) -> bool:
        return state_of(self._path) == self._state

    def column(self, name: str) -> pa.Array:
        """[num_rows], one of `SCHEMA`."""
        return pa.concat_arrays([batch.column(name) for batch in self._batches()])

    def response_chars(self) -> np.ndarray:
        """int64 [num_rows]"""
        chars = [compute.utf8_length(batch.column("response")).to_numpy() for batch in self._batches()]
        return np.concatenate(chars).astype(np.int64)

    @property
    def has_lines(self) -> bool:
        """Whether the rows are kept as JSON."""
        return not is_arrow(self._pool)

    def lines(self, chosen: np.ndarray) -> Iterator[str]:
        """Some rows as they stand in a JSONL file. Args: chosen: bool [num_rows]."""
        start = 0
        for batch in self._batches():
            taken = batch.column("raw").filter(pa.array(chosen[start : start + len(batch)]))
            yield from (f"{line}\n" for line in taken.to_numpy(zero_copy_only=False))
            start += len(batch)

    def messages(self, chosen: np.ndarray) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Some rows as lines of a JSONL file have them, parts at a time. Args: chosen: bool [num_rows].

        Returns: ids and messages, text [rows of the part] each, as JSON.
        """
        start = 0
        for batch in self._batches():
            places = pa.array(np.flatnonzero(chosen[start : start + len(batch)]))
            turns = batch.column("messages").take(places)
            parts = ['{"role": ', json_texts(turns.values.field("role"))]
            parts += [', "content": ', json_texts(turns.values.field("content")), *_optional(turns.values)]
            written = compute.binary_join_element_wise(*parts, "}", "")
            joined = compute.binary_join(pa.ListArray.from_arrays(turns.offsets, written), ", ")
            yield (
                json_texts(batch.column("row_id").take(places)),
                compute.binary_join_element_wise("[", joined, "]", ""),
            )
            start += len(batch)

    def rows(self, chosen: np.ndarray | None = None) -> Iterator[Row]:
        """In the order of the pool. Args: chosen: bool [num_rows], which of them; None: all."""
        source, start = _RowsOfPool(self._pool), 0
        for batch in self._batches():
            places = np.arange(len(batch)) if chosen is None else np.flatnonzero(chosen[start : start + len(batch)])
            read = batch.select([name for name in SCHEMA.names if name != "raw"])
            if len(places):
                read = read if chosen is None else read.take(pa.array(places))
                yield from _rows(read, places.tolist(), start, batch.column("raw"), source)
            start += len(batch)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        return (self._file.get_batch(number) for number in range(self._file.num_record_batches))


def _rows(
    batch: pa.RecordBatch, places: Sequence[int], start: int, raw: pa.Array, source: _RowsOfPool
) -> Iterator[Row]:
    """Args: places: of the rows in `raw`; start: index in the pool of the first row there."""
    names = ("row_id", "instruction", "response", "failure", "is_conversation", "reason", "stratum")
    columns = (batch.column(name).to_numpy(zero_copy_only=False).tolist() for name in names)
    is_json = raw.null_count == 0
    for at, messages, row_id, instruction, response, failure, is_conversation, reason, stratum in zip(
        places, _messages(batch.column("messages")), *columns, strict=True
    ):
        held = _WrittenRow(raw, at) if is_json else _RowOfPool(source, start + at)
        yield Row(start + at, row_id, instruction, response, messages, held, failure, is_conversation, reason, stratum)


def _messages(column: pa.ListArray) -> Iterator[tuple[dict[str, Any], ...]]:
    turns = column.flatten()
    roles, contents, inputs, trains, calls = (
        turns.field(name).to_numpy(zero_copy_only=False).tolist()
        for name in ("role", "content", "input", "train", "call")
    )
    offsets = column.offsets
    start = offsets[0].as_py()
    starts = (offsets.to_numpy() - start).tolist()
    messages: list[dict[str, Any]] = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=True)
    ]
    for key, values, without in (("input", inputs, None), ("call", calls, None), ("train", trains, None)):
        if turns.field(key).null_count < len(turns):
            for message, value in zip(messages, values, strict=True):
                if value is not without:
                    message[key] = value
    return (tuple(messages[first:last]) for first, last in itertools.pairwise(starts))


def _optional(turns: pa.StructArray) -> Iterator[pa.Array]:
    """What only some messages have, as it stands in their JSON; an empty text for the others."""
    for name in ("input", "call", "train"):
        values = turns.field(name)
        if values.null_count < len(values):
            written = json_texts(values) if pa.types.is_string(values.type) else values.cast(pa.string())
            text = compute.binary_join_element_wise(f', "{name}": ', written, "")
            yield compute.if_else(values.is_valid(), text, "")


class _WrittenRow(Unread):
    """A row whose JSON is kept."""

    __slots__ = ("_at", "_texts")

    def __init__(self, texts: pa.Array, at: int) -> None:
        self._texts, self._at = texts, at

    def read(self) -> Any:
        return json.loads(self._texts[self._at].as_py())


class _RowOfPool(Unread):
    """A row of a pool that is Arrow itself."""

    __slots__ = ("_index", "_source")

    def __init__(self, source: _RowsOfPool, index: int) -> None:
        self._source, self._index = source, index

    def read(self) -> Any:
        return self._source.at(self._index)


class _RowsOfPool:
    """Rows as they stand in the pool's files: one reading, if they are asked for in their order."""

    def __init__(self, pool: PoolConfig) -> None:
        self._pool = pool
        self._rows: Iterator[tuple[int, Any]] = iter(())
        self._next = 0
        self._last: Any = None

    def at(self, index: int) -> Any:
        if index == self._next - 1:
            return self._last
        if index < self._next or self._next == 0:
            self._rows, self._next = iter(rows_in_file(self._pool)), 0
        _, self._last = next(itertools.islice(self._rows, index - self._next, None))
        self._next = index + 1
        return self._last
