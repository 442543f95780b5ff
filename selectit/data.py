"""Pools of instruction data: reading, checking, row ids, and writing a subset in the pool's own format.

Reads Alpaca rows, ShareGPT conversations and messages, from JSON, JSONL, Parquet, or a hub dataset.
Every row keeps its raw form, so that a written subset is what came in.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.config import PoolConfig
from selectit.errors import UserError

SUFFIXES = (".json", ".jsonl", ".parquet")
COLUMNS = {
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
    "messages": ("messages",),
}
"""Columns that a row of each format must have (Alpaca's `input` may be absent)."""
SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
MOST_SHOWN = 5
BATCH_ROWS = 1000
"""Rows of a Parquet file or a hub dataset that are Python objects at a time."""
COPIED_ROWS = 2**16


@dataclass(frozen=True, slots=True)
class Row:
    """One training example.

    `row_id` is the row's own `id` where the pool has that column, else position and content hash.
    `instruction` and `response` are the first user turn (Alpaca: instruction, "\\n", input) and the first
    assistant turn, which is what SelectIT rates. `failure` says why a row can be neither scored nor selected.
    """

    index: int
    row_id: str
    instruction: str
    response: str
    messages: tuple[dict[str, str], ...]
    raw: dict[str, Any]
    failure: str | None = None


def read_pool(pool: PoolConfig) -> list[Row]:
    """Every row of the pool, in order.

    Raises: UserError naming the file and the row for anything that is missing, malformed, empty or twice there.
    """
    return list(iter_pool(pool))


def iter_pool(pool: PoolConfig) -> Iterator[Row]:
    """The same row by row; JSONL, Parquet and hub datasets are read as they are asked for.

    Raises: as `read_pool`; for rows that cannot be used and for ids that stand twice once all have been read.
    """
    bad: list[Row] = []
    num_bad = 0
    ids = _RowIds(pool)
    row_format: str = pool.format
    number = -1
    for number, raw in enumerate(itertools.islice(_raw_rows(pool), pool.limit)):
        if row_format == "auto":
            row_format = _detect_format(pool, raw)
        _check_columns(pool, number, raw, row_format)
        row = _row(pool, row_format, number, ids.of(number, raw), raw)
        if row.failure:
            num_bad += 1
            bad += [row] if num_bad <= MOST_SHOWN else []
        yield row
    if number < 0:
        raise UserError(f"pool {pool.path} has no rows; name a file with at least one row")
    ids.check()
    _check_bad_rows(pool, bad, num_bad, number + 1)


def _row(pool: PoolConfig, row_format: str, index: int, row_id: str, raw: dict[str, Any]) -> Row:
    messages = _messages(pool, row_format, index, raw)
    first = {"user": "", "assistant": ""}
    for message in reversed(messages):
        first[message["role"]] = message["content"]
    extra = next((m["input"] for m in messages if "input" in m), "")
    instruction = f"{first['user']}\n{extra}" if extra else first["user"]
    failure = None
    if not first["assistant"].strip():
        failure = "empty_response"
    elif not instruction.strip():
        failure = "empty_instruction"
    return Row(index, row_id, instruction, first["assistant"], messages, raw, failure)


def write_rows(pool: PoolConfig, rows: Iterable[Row], out: Path, stem: str = "subset") -> Path:
    """Write rows, in the pool's order, in its own format to `out/<stem><suffix>`; a hub dataset becomes JSONL."""
    suffix = Path(pool.path).suffix if Path(pool.path).is_file() else ".jsonl"
    path = out / f"{stem}{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps([row.raw for row in rows], ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    elif suffix == ".jsonl":
        write_jsonl(path, (row.raw for row in rows))
    else:
        _copy_rows(Path(pool.path), (row.index for row in rows), path)
    return path


def _copy_rows(source: Path, indices: Iterable[int], path: Path) -> None:
    """Args: indices: ascending, of rows of a Parquet file."""
    import numpy as np
    import pyarrow.parquet as parquet

    chosen = np.fromiter(indices, dtype=np.int64)
    num_rows = 0
    with parquet.ParquetFile(source) as file, parquet.ParquetWriter(path, file.schema_arrow) as writer:
        for batch in file.iter_batches(COPIED_ROWS):
            start, end = np.searchsorted(chosen, [num_rows, num_rows + len(batch)])
            writer.write_batch(batch.take(chosen[start:end] - num_rows))
            num_rows += len(batch)


def write_jsonl(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as f:
        f.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Raises: UserError naming file and line where a line is not JSON."""
    return list(iter_jsonl(path))


def iter_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as f:
        for number, line in enumerate(f, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg}); one JSON object per line") from error
            yield row


def _raw_rows(pool: PoolConfig) -> Iterable[Any]:
    path = Path(pool.path)
    if path.is_dir() or not path.suffix or not path.exists():
        return _read_dataset(pool)
    if path.suffix == ".jsonl":
        return iter_jsonl(path)
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(
                f"pool {path}: not JSON ({error.msg}, line {error.lineno}); a file of one object per line is .jsonl"
            ) from error
        if not isinstance(content, list):
            raise UserError(f"pool {path}: found a JSON {type(content).__name__}; a pool is a list of rows")
        return content
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        return (row for batch in parquet.ParquetFile(path).iter_batches(BATCH_ROWS) for row in batch.to_pylist())
    raise UserError(f"pool {path}: files that can be read end in {', '.join(SUFFIXES)}")


def _read_dataset(pool: PoolConfig) -> Iterator[dict[str, Any]]:
    """A hub dataset id, or a local folder in the hub's layout; its rows stay on disk."""
    if pool.path.startswith(("/", ".", "~")) and not Path(pool.path).exists():
        raise UserError(f"pool {pool.path} does not exist; name a {', '.join(SUFFIXES)} file or a hub dataset id")
    try:
        dataset = _load_dataset(pool.path, pool.revision, pool.split)
    except Exception as error:
        raise UserError(
            f"pool {pool.path}: neither a file here nor a readable hub dataset with split '{pool.split}' "
            f"({str(error).splitlines()[0]})"
        ) from error
    return (row for batch in dataset.with_format("arrow").iter(BATCH_ROWS) for row in batch.to_pylist())


@functools.lru_cache(maxsize=4)
def _load_dataset(path: str, revision: str | None, split: str) -> Any:
    """Once in a process: the hub is asked once, however often the pool is read, and all readings are of one state."""
    from datasets import load_dataset

    return load_dataset(path, revision=revision, split=split)


def _detect_format(pool: PoolConfig, row: Any) -> str:
    keys = set(row) if isinstance(row, dict) else set()
    for row_format, columns in COLUMNS.items():
        if set(columns) <= keys:
            return row_format
    legal = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in COLUMNS.items())
    found = ", ".join(sorted(keys)) if keys else type(row).__name__
    raise UserError(f"pool {pool.path}, row 0: columns found: {found}. A row needs the columns of one form ({legal}).")


def _check_columns(pool: PoolConfig, index: int, row: Any, row_format: str) -> None:
    if not isinstance(row, dict):
        raise UserError(f"pool {pool.path}, row {index}: found {type(row).__name__}; a row is an object")
    for column in COLUMNS[row_format]:
        if column not in row:
            raise UserError(
                f"pool {pool.path}, row {index}: column '{column}' is missing; found {', '.join(sorted(row))}. "
                f"Every row of the form '{row_format}' has {', '.join(COLUMNS[row_format])}."
            )


def content_hash(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class _RowIds:
    """Ids of a pool's rows, one row after the other: their own, or position and content hash where none has one.

    Of an id of its own, eight bytes are kept.
    """

    def __init__(self, pool: PoolConfig) -> None:
        self._pool = pool
        self._hashes = array("q")

    def of(self, index: int, row: Mapping[str, Any]) -> str:
        own = row.get("id")
        if own is None and not self._hashes:
            return f"{index}-{content_hash(row)[:8]}"
        if own is None or index > len(self._hashes):
            raise UserError(
                f"pool {self._pool.path}, row {index if own is None else 0}: no 'id', but other rows have one. "
                "Give every row an id, or none (position and content hash are used then)."
            )
        self._hashes.append(hash(str(own)))
        return str(own)

    def check(self) -> None:
        """Raises: UserError for an id that stands twice; rows of equal hash are read again, so it is certain."""
        import numpy as np

        hashes = np.array(self._hashes)
        order = np.argsort(hashes, kind="stable")
        equal = np.flatnonzero(np.diff(hashes[order]) == 0)
        suspects = {*order[equal].tolist(), *order[equal + 1].tolist()}
        seen: dict[str, int] = {}
        for index, row in enumerate(_raw_rows(self._pool)) if suspects else ():
            if index not in suspects:
                continue
            if (own := str(row["id"])) in seen:
                raise UserError(
                    f"pool {self._pool.path}, row {index}: id '{own}' stands in row {seen[own]} already. "
                    "Remove the repeated row, or the id column (position and content hash are used then)."
                )
            seen[own] = index


def _messages(pool: PoolConfig, row_format: str, index: int, row: dict[str, Any]) -> tuple[dict[str, str], ...]:
    def text(value: Any, column: str) -> str:
        if not isinstance(value, str):
            raise UserError(
                f"pool {pool.path}, row {index}: '{column}' is {type(value).__name__} ({value!r:.60}); it must be text"
            )
        return value

    if row_format == "alpaca":
        user = {"role": "user", "content": text(row["instruction"], "instruction")}
        if row.get("input"):
            user["input"] = text(row["input"], "input")
        return (user, {"role": "assistant", "content": text(row["output"], "output")})

    column, role_key, text_key = {
        "sharegpt": ("conversations", "from", "value"),
        "messages": ("messages", "role", "content"),
    }[row_format]
    turns = row[column]
    if not isinstance(turns, list):
        raise UserError(
            f"pool {pool.path}, row {index}: '{column}' is {type(turns).__name__}; it must be a list of turns"
        )
    messages = []
    for number, turn in enumerate(turns):
        where = f"{column}[{number}]"
        if not isinstance(turn, dict) or not {role_key, text_key} <= set(turn):
            raise UserError(f"pool {pool.path}, row {index}: {where} needs the keys '{role_key}' and '{text_key}'")
        role = SHAREGPT_ROLES.get(turn[role_key])
        if role is None:
            raise UserError(
                f"pool {pool.path}, row {index}: {where}.{role_key} is '{turn[role_key]}'; "
                f"legal are {', '.join(SHAREGPT_ROLES)}"
            )
        messages.append({"role": role, "content": text(turn[text_key], f"{where}.{text_key}")})
    return tuple(messages)


def _check_bad_rows(pool: PoolConfig, bad: Sequence[Row], num_bad: int, num_rows: int) -> None:
    """Args: bad: the first of the rows that cannot be used."""
    if not bad or pool.bad_rows == "exclude":
        return
    shown = "; ".join(f"row {row.index} ({row.row_id}): {str(row.failure).replace('_', ' ')}" for row in bad)
    more = f" and {num_bad - len(bad)} more" if num_bad > len(bad) else ""
    raise UserError(
        f"pool {pool.path}: {num_bad} of {num_rows} rows cannot be used: {shown}{more}. "
        "Fill or remove them, or set pool.bad_rows to 'exclude': they are then never scored and never selected."
    )
