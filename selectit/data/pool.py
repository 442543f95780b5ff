"""Pools of instruction data: reading, checking, row ids, and writing a subset in the pool's own format.

Reads Alpaca rows, ShareGPT conversations and messages, from JSON, JSONL, Parquet, or a hub dataset.
Every row keeps its raw form, so that a written subset is what came in.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectit.config import PoolConfig
from selectit.data.arrow_rows import rows_of, taken
from selectit.data.jsonl import iter_jsonl, write_jsonl
from selectit.data.row_ids import RowIds, check_is_object, draw, row_id
from selectit.data.turns import Message, around, rated_pair, trained
from selectit.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".json", ".jsonl", ".parquet")
COLUMNS = {
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
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

    `index` counts from 0 the rows that the pool's settings leave; with `pool.sample` these are the drawn ones.
    `row_id` is the row's own `id` where the pool has that column, else its position in the file and content hash.
    `instruction` and `response` are what SelectIT rates: see `selectit.data.turns.rated_pair`. `failure` is the reason
    why a row can be neither scored nor selected.
    """

    index: int
    row_id: str
    instruction: str
    response: str
    messages: tuple[Message, ...]
    raw: dict[str, Any]
    failure: str | None = None
    is_conversation: bool = False
    """Its turns are a conversation's; an Alpaca row is its own answer, whatever its history."""


def read_pool(pool: PoolConfig) -> list[Row]:
    """Every row of the pool, in order.

    Raises: UserError naming the file and the row for anything that is missing, malformed, empty or twice there.
    """
    return list(iter_pool(pool))


def iter_pool(pool: PoolConfig) -> Iterator[Row]:
    """The same row by row; JSONL, Parquet and hub datasets are read as they are asked for.

    Raises: as `read_pool`; for rows that cannot be used and for ids that stand twice once all have been read.
    """
    bad: list[tuple[int, Row]] = []
    num_bad = 0
    row_format: str = pool.format
    ids = RowIds(pool, _raw_rows)
    index = -1
    for index, (position, raw) in enumerate(itertools.islice(_rows_in_file(pool), pool.limit)):
        if row_format == "auto":
            row_format = _detect_format(pool, position, raw)
        _check_columns(pool, position, raw, row_format)
        named = ids.of(position, raw) if pool.sample is None else row_id(position, raw)
        row = _row(pool, row_format, index, position, named, raw)
        if row.failure:
            num_bad += 1
            bad += [(position, row)] if num_bad <= MOST_SHOWN else []
        yield row
    if index < 0:
        raise UserError(f"pool {pool.path} has no rows; name a file with at least one row")
    if pool.sample is None:  # those of a whole pool are checked before a draw
        ids.check()
    _check_bad_rows(pool, bad, num_bad, index + 1)


NOT_UTF8 = "surrogateescape"
"""Bytes that are not UTF-8 become halves of characters, so that their row can be named instead of the file."""
NOT_UNICODE = "lone_surrogate"
"""Half of a character that JSON writes as two, such as \\ud83d without its other half, or bytes that are not UTF-8."""


def _row(pool: PoolConfig, row_format: str, index: int, position: int, named: str, raw: dict[str, Any]) -> Row:
    if not is_unicode(raw):  # its texts are left out, so that nothing later stumbles over them
        return Row(index, named, "", "", (), raw, NOT_UNICODE)
    own, unread = _messages(pool, row_format, position, raw)
    messages, beyond = around(raw, own)
    instruction, response, untrained = rated_pair(messages, last=row_format == "alpaca")
    failure = unread or beyond or untrained
    if failure is None and not response.strip():
        failure = "empty_response"
    elif failure is None and not instruction.strip():
        failure = "empty_instruction"
    return Row(index, named, instruction, response, tuple(messages), raw, failure, row_format != "alpaca")


def is_unicode(value: Any) -> bool:
    """Whether all text in a row, keys too, can be written as UTF-8."""
    if isinstance(value, str):
        if value.isascii():
            return True
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, dict):
        return all(is_unicode(key) and is_unicode(item) for key, item in value.items())
    return all(map(is_unicode, value)) if isinstance(value, list | tuple) else True


def write_rows(pool: PoolConfig, rows: Iterable[Row], out: Path, stem: str = "subset") -> Path:
    """Write rows, in the pool's order, in its own format to `out/<stem><suffix>`; a hub dataset becomes JSONL, values
    that JSON has not in the form of `json_form`.
    """
    suffix = Path(pool.path).suffix if Path(pool.path).is_file() else ".jsonl"
    path = out / f"{stem}{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps([row.raw for row in rows], ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    elif suffix == ".jsonl":
        write_jsonl(path, (row.raw for row in rows))
    else:
        _copy_rows(pool, (row.index for row in rows), path)
    return path


def _copy_rows(pool: PoolConfig, indices: Iterable[int], path: Path) -> None:
    """Args: indices: ascending, of rows of a pool that is a Parquet file."""
    import numpy as np
    import pyarrow.parquet as parquet

    source = Path(pool.path)
    chosen = np.fromiter(indices, dtype=np.int64)
    if pool.sample is not None:
        chosen = _drawn(pool)[chosen]
    num_rows = 0
    with parquet.ParquetFile(source) as file, parquet.ParquetWriter(path, file.schema_arrow) as writer:
        for batch in file.iter_batches(COPIED_ROWS):
            start, end = np.searchsorted(chosen, [num_rows, num_rows + len(batch)])
            for part in taken(batch, chosen[start:end] - num_rows):
                writer.write_batch(part)
            num_rows += len(batch)


def _rows_in_file(pool: PoolConfig) -> Iterable[tuple[int, Any]]:
    """Position in the file, and the row: of all rows, or of those that `pool.sample` draws."""
    if pool.sample is None:
        return enumerate(_raw_rows(pool))
    drawn = _drawn(pool)
    return zip(drawn.tolist(), _raw_rows_at(pool, drawn), strict=True)


def _drawn(pool: PoolConfig) -> np.ndarray:
    """int64 [num_rows of the draw], positions in the file, ascending.

    Raises: UserError for a pool with fewer rows, and as `RowIds` does for its ids.
    """
    path = Path(pool.path)
    stat = path.stat() if path.is_file() else None
    return _draw(pool.model_copy(update={"limit": None}), None if stat is None else (stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=8)
def _draw(pool: PoolConfig, state_of_file: tuple[int, int] | None) -> np.ndarray:
    """Once in a process for each state of a file, however often the pool is read."""
    return draw(pool, _raw_rows)


def _raw_rows_at(pool: PoolConfig, positions: np.ndarray) -> Iterator[Any]:
    """The rows at ascending positions; those between them become no Python objects where the form allows it."""
    path = Path(pool.path)
    if _is_dataset(path):
        yield from _rows_of(_dataset(pool).select(positions))
    elif path.suffix == ".parquet":
        start = 0
        for batch in _parquet_batches(path):
            first, last = positions.searchsorted([start, start + batch.num_rows])
            if first < last:
                for part in taken(batch, positions[first:last] - start):
                    yield from rows_of(part)
            start += batch.num_rows
    else:
        wanted = iter(positions.tolist())
        at = next(wanted, None)
        for position, raw in enumerate(_raw_rows(pool)):
            if position == at:
                yield raw
                if (at := next(wanted, None)) is None:
                    return


def _raw_rows(pool: PoolConfig) -> Iterable[Any]:
    path = Path(pool.path)
    if _is_dataset(path):
        return _rows_of(_dataset(pool))
    if path.suffix == ".jsonl":
        return iter_jsonl(path, NOT_UTF8)
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8", errors=NOT_UTF8))
        except json.JSONDecodeError as error:
            raise UserError(
                f"pool {path}: not JSON ({error.msg}, line {error.lineno}); a file of one object per line is .jsonl"
            ) from error
        if not isinstance(content, list):
            raise UserError(f"pool {path}: found a JSON {type(content).__name__}; a pool is a list of rows")
        return content
    if path.suffix == ".parquet":
        return (row for batch in _parquet_batches(path) for row in rows_of(batch))
    raise UserError(f"pool {path}: files that can be read end in {', '.join(SUFFIXES)}")


def _parquet_batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as parquet

    return parquet.ParquetFile(path).iter_batches(BATCH_ROWS)  # type: ignore[no-any-return]


def _is_dataset(path: Path) -> bool:
    return path.is_dir() or not path.suffix or not path.exists()


def _rows_of(dataset: Any) -> Iterator[dict[str, Any]]:
    batches = (part for table in dataset.with_format("arrow").iter(BATCH_ROWS) for part in table.to_batches())
    return (row for batch in batches for row in rows_of(batch))


def _dataset(pool: PoolConfig) -> Any:
    """A hub dataset id, or a local folder in the hub's layout; its rows stay on disk."""
    if pool.path.startswith(("/", ".", "~")) and not Path(pool.path).exists():
        raise UserError(f"pool {pool.path} does not exist; name a {', '.join(SUFFIXES)} file or a hub dataset id")
    try:
        return _load_dataset(pool.path, pool.revision, pool.split)
    except Exception as error:
        raise UserError(
            f"pool {pool.path}: neither a file here nor a readable hub dataset with split '{pool.split}' "
            f"({str(error).splitlines()[0]})"
        ) from error


@functools.lru_cache(maxsize=4)
def _load_dataset(path: str, revision: str | None, split: str) -> Any:
    """Once in a process: the hub is asked once, however often the pool is read, and all readings are of one state."""
    from datasets import load_dataset

    return load_dataset(path, revision=revision, split=split)


def _detect_format(pool: PoolConfig, position: int, row: Any) -> str:
    keys = set(row) if isinstance(row, dict) else set()
    for row_format, columns in COLUMNS.items():
        if set(columns) <= keys:
            return row_format
    allowed = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in COLUMNS.items())
    found = ", ".join(sorted(keys)) if keys else type(row).__name__
    raise UserError(
        f"pool {pool.path}, row {position}: columns found: {found}. A row needs the columns of one form ({allowed})."
    )


def _check_columns(pool: PoolConfig, index: int, row: Any, row_format: str) -> None:
    check_is_object(pool, index, row)
    for column in COLUMNS[row_format]:
        if column not in row:
            raise UserError(
                f"pool {pool.path}, row {index}: column '{column}' is missing; found {', '.join(sorted(row))}. "
                f"Every row of the form '{row_format}' has {', '.join(COLUMNS[row_format])}."
            )


def _messages(pool: PoolConfig, row_format: str, index: int, row: dict[str, Any]) -> tuple[list[Message], str | None]:
    """Returns: the turns of the row's own format, and why one of them cannot be read; None where all can."""

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
        return [user, {"role": "assistant", "content": text(row["output"], "output")}], None

    if row_format == "prompt_completion":
        return [
            {"role": "user", "content": text(row["prompt"], "prompt")},
            {"role": "assistant", "content": text(row["completion"], "completion")},
        ], None

    column, role_key, text_key = {
        "sharegpt": ("conversations", "from", "value"),
        "messages": ("messages", "role", "content"),
    }[row_format]
    turns = row[column]
    if not isinstance(turns, list):
        raise UserError(
            f"pool {pool.path}, row {index}: '{column}' is {type(turns).__name__}; it must be a list of turns"
        )
    messages: list[Message] = []
    unread = None
    for number, turn in enumerate(turns):
        where = f"{column}[{number}]"
        if not isinstance(turn, dict) or not {role_key, text_key} <= set(turn):
            raise UserError(f"pool {pool.path}, row {index}: {where} needs the keys '{role_key}' and '{text_key}'")
        role = SHAREGPT_ROLES.get(turn[role_key])
        if role is None:
            raise UserError(
                f"pool {pool.path}, row {index}: {where}.{role_key} is '{turn[role_key]}'; "
                f"allowed are {', '.join(SHAREGPT_ROLES)}"
            )
        message: Message = {"role": role, "content": text(turn[text_key], f"{where}.{text_key}")}
        if role == "assistant":
            is_trained, reason = trained(turn)
            unread = unread or reason
            message |= {} if is_trained else {"train": False}
        messages.append(message)
    return messages, unread


def _check_bad_rows(pool: PoolConfig, bad: Sequence[tuple[int, Row]], num_bad: int, num_rows: int) -> None:
    """Args: bad: position in the file and row, of the first of those that cannot be used."""
    if not bad or pool.bad_rows == "exclude":
        return
    shown = "; ".join(f"row {at} ({row.row_id}): {str(row.failure).replace('_', ' ')}" for at, row in bad)
    more = f" and {num_bad - len(bad)} more" if num_bad > len(bad) else ""
    raise UserError(
        f"pool {pool.path}: {num_bad} of {num_rows} rows cannot be used: {shown}{more}. "
        "Fill or remove them, or set pool.bad_rows to 'exclude': they are then never scored and never selected."
    )
