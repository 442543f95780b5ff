"""Pools that have been parsed: Arrow tables in the user's cache, by the content of a pool and how it is read.

A table is an Arrow IPC file that is memory mapped, with a row for each row of the pool: id, what is rated, messages,
why it cannot be used, and its raw form where that is JSON. It is made by one reading of the pool, and removed when
nothing has read it for `KEPT_DAYS`. Where it cannot be kept, the pool is parsed each time, and a warning says why.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from selectit.config import PoolConfig
from selectit.data.files import form_of, is_arrow, rows_in_file
from selectit.data.hashes import digest, state_of, user_folder, user_hasher
from selectit.data.jsonl_columns import json_texts
from selectit.data.parsing import parsed_rows
from selectit.data.row import Row, Unread
from selectit.errors import UserError

FOLDER = "pools"
SUFFIX = ".arrow"
SMALLEST_BYTES = 1 << 20
"""Smaller pools are parsed each time, which takes less than a second."""
KEPT_DAYS = 30
BATCH_ROWS = 4096
SETTINGS = set(PoolConfig.model_fields) - {"path", "revision", "bad_rows", "deduplicate"}
"""Fields of a pool that are part of the key; of the others the content is, or they change no row."""
COMMIT = re.compile(r"[0-9a-f]{40}")
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
_LOCK = threading.Lock()
_opened: dict[Path, KeptPool] = {}
_given_up: set[str] = set()
"""Keys of pools that could not be kept."""


def kept_folder() -> Path:
    return user_folder() / FOLDER


def kept_pool(pool: PoolConfig) -> KeptPool | None:
    """The parsed pool, which is made here if it is not there.

    Returns: None where `parsed_rows` must be asked, for the pool is small, cannot be kept or is refused.
    """
    with _LOCK:
        key = None
        try:
            if (key := table_key(pool)) is None or key in _given_up:
                return None
            table = _found(key, pool) or _made(key, pool)
        except UserError:  # which the parser raises as well, where the pool's settings have it raised
            return None
        except (OSError, pa.ArrowException, UnicodeError) as error:
            if key is not None:
                _given_up.add(key)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            warnings.warn(
                f"what was parsed of pool {pool.path} cannot be kept in {kept_folder()} ({reason}); it is parsed each "
                "time it is read",
                stacklevel=2,
            )
            return None
    return None if pool.bad_rows == "refuse" and table.num_unusable else table


def forget() -> None:
    """Close what this process has opened."""
    with _LOCK:
        _opened.clear()
        _given_up.clear()


def kept_numbers(pool: PoolConfig, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A number for each row of a pool, next to its table. Args: make: computes them: int32 [num_rows]."""
    with _LOCK:
        try:
            if (key := table_key(pool)) is not None:
                for path in kept_folder().glob(f"{key}.{name}-*{SUFFIX}"):
                    if _is_whole(path):
                        with pa.memory_map(str(path)) as source:
                            numbers: np.ndarray = pa.ipc.open_file(source).read_all().column(0).to_numpy()
                            return numbers
        except (OSError, pa.ArrowException, UserError):
            key = None
    found = make()
    with _LOCK, suppress(OSError, pa.ArrowException):
        if key is not None:
            _write(f"{key}.{name}", [pa.record_batch({name: found})])
    return found


def kept_tables() -> dict[Path, str]:
    """Every file that is kept, and the key of the pool whose it is."""
    return {path: path.stem.partition("-")[0].partition(".")[0] for path in sorted(kept_folder().glob(f"*{SUFFIX}"))}


def table_key(pool: PoolConfig) -> str | None:
    """What names the table of a pool: its content, all settings that change a row, and the code that reads it.

    Returns: None for a pool that is not kept.
    Raises:  OSError.
    """
    path, files = Path(pool.path), pool.files()
    settings = pool.model_dump(mode="json", include=SETTINGS) | {"code": _code()}
    hasher = user_hasher()
    if files is not None or path.is_file():
        files = [path] if files is None else files
        if sum(file.stat().st_size for file in files) < SMALLEST_BYTES:
            return None
        return _key({**settings, "files": [[form_of(file), file.suffix, hasher.file(file)] for file in files]})
    settings["datasets"] = version("datasets")
    if path.is_dir():
        return _key({**settings, "folder": hasher.dataset(path)})
    if pool.revision is None or not COMMIT.fullmatch(pool.revision):  # a branch is not one content
        return None
    return _key({**settings, "hub": [pool.path, pool.revision]})


def _key(content: dict[str, Any]) -> str:
    return digest(content)[:32]


@functools.cache
def _code() -> str:
    """Another version of the code that reads pools has tables of its own."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


def _found(key: str, pool: PoolConfig) -> KeptPool | None:
    for path in kept_folder().glob(f"{key}-*{SUFFIX}"):
        if path in _opened and _opened[path].is_unchanged():
            return _opened[path]
        if _is_whole(path):
            return _remembered(path, pool)
    return None


def _is_whole(path: Path) -> bool:
    """Whether a file holds what was written; one that does not is removed."""
    if path.stem.rpartition("-")[2] == user_hasher().file(path)[:16]:
        return True
    warnings.warn(f"{path} is damaged and is made again", stacklevel=5)
    path.unlink(missing_ok=True)
    return False


def _made(key: str, pool: PoolConfig) -> KeptPool:
    """Parses the pool once. Raises: UserError, as the parser does where bad rows are left out; see `kept_pool`."""
    rows = parsed_rows(pool.model_copy(update={"bad_rows": "exclude"}))
    chunks = iter(lambda: list(itertools.islice(rows, BATCH_ROWS)), [])
    return _remembered(_write(key, (_batch(chunk, with_raw=not is_arrow(pool)) for chunk in chunks)), pool)


def _write(key: str, batches: Iterable[pa.RecordBatch]) -> Path:
    folder = kept_folder()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder)
    part = folder / f"{key}.{os.getpid()}.part"
    batches = iter(batches)
    first = next(batches, None)
    schema = SCHEMA if first is None else first.schema
    try:
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in itertools.chain([] if first is None else [first], batches):
                writer.write_batch(batch)
        with part.open("rb") as f:
            content = hashlib.file_digest(f, "sha256").hexdigest()
        path = folder / f"{key}-{content[:16]}{SUFFIX}"
        os.replace(part, path)
        user_hasher().remember(path, content)
    finally:
        part.unlink(missing_ok=True)
    return path


def _remembered(path: Path, pool: PoolConfig) -> KeptPool:
    while len(_opened) >= 8:
        del _opened[next(iter(_opened))]
    _opened[path] = KeptPool(path, pool)
    return _opened[path]


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for path in folder.iterdir():
        with suppress(OSError):
            if (stat := path.stat()) and max(stat.st_atime, stat.st_mtime) < oldest:
                path.unlink()


def _batch(rows: Sequence[Row], with_raw: bool) -> pa.RecordBatch:
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
