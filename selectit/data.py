"""Pools of instruction data: reading, checking, row ids, and writing a subset in the pool's own format.

Reads Alpaca rows, ShareGPT conversations and messages, from JSON, JSONL, Parquet, or a hub dataset.
Every row keeps its raw form, so that a written subset is what came in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
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
    raw = _read_raw(pool)[: pool.limit]
    if not raw:
        raise UserError(f"pool {pool.path} has no rows; name a file with at least one row")
    row_format = _detect_format(pool, raw[0]) if pool.format == "auto" else pool.format
    _check_columns(pool, raw, row_format)
    ids = _row_ids(pool, raw)
    rows = []
    for index, (row_id, row) in enumerate(zip(ids, raw, strict=True)):
        messages = _messages(pool, row_format, index, row)
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
        rows.append(Row(index, row_id, instruction, first["assistant"], messages, row, failure))
    _check_bad_rows(pool, rows)
    return rows


def write_rows(pool: PoolConfig, rows: Sequence[Row], out: Path, stem: str = "subset") -> Path:
    """Write rows in the pool's own format to `out/<stem><suffix>`; a hub dataset becomes JSONL."""
    suffix = Path(pool.path).suffix if Path(pool.path).is_file() else ".jsonl"
    path = out / f"{stem}{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps([row.raw for row in rows], ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    elif suffix == ".jsonl":
        write_jsonl(path, (row.raw for row in rows))
    else:
        import pyarrow.parquet as parquet

        parquet.write_table(parquet.read_table(pool.path).take([row.index for row in rows]), path)
    return path


def write_jsonl(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as f:
        f.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Raises: UserError naming file and line where a line is not JSON."""
    rows = []
    with path.open(encoding="utf-8") as f:
        for number, line in enumerate(f, start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg}); one JSON object per line") from error
    return rows


def _read_raw(pool: PoolConfig) -> list[Any]:
    path = Path(pool.path)
    if path.is_dir() or not path.suffix or not path.exists():
        return _read_dataset(pool)
    if path.suffix == ".jsonl":
        return read_jsonl(path)
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

        return parquet.read_table(path).to_pylist()
    raise UserError(f"pool {path}: files that can be read end in {', '.join(SUFFIXES)}")


def _read_dataset(pool: PoolConfig) -> list[dict[str, Any]]:
    """A hub dataset id, or a local folder in the hub's layout."""
    if pool.path.startswith(("/", ".", "~")) and not Path(pool.path).exists():
        raise UserError(f"pool {pool.path} does not exist; name a {', '.join(SUFFIXES)} file or a hub dataset id")
    from datasets import load_dataset

    try:
        dataset = load_dataset(pool.path, revision=pool.revision, split=pool.split)
    except Exception as error:
        raise UserError(
            f"pool {pool.path}: neither a file here nor a readable hub dataset with split '{pool.split}' "
            f"({str(error).splitlines()[0]})"
        ) from error
    return dataset.to_list()


def _detect_format(pool: PoolConfig, row: Any) -> str:
    keys = set(row) if isinstance(row, dict) else set()
    for row_format, columns in COLUMNS.items():
        if set(columns) <= keys:
            return row_format
    legal = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in COLUMNS.items())
    found = ", ".join(sorted(keys)) if keys else type(row).__name__
    raise UserError(f"pool {pool.path}, row 0: columns found: {found}. A row needs the columns of one form ({legal}).")


def _check_columns(pool: PoolConfig, raw: Sequence[Any], row_format: str) -> None:
    for index, row in enumerate(raw):
        if not isinstance(row, dict):
            raise UserError(f"pool {pool.path}, row {index}: found {type(row).__name__}; a row is an object")
        for column in COLUMNS[row_format]:
            if column not in row:
                raise UserError(
                    f"pool {pool.path}, row {index}: column '{column}' is missing; found {', '.join(sorted(row))}. "
                    f"Every row of the form '{row_format}' has {', '.join(COLUMNS[row_format])}."
                )


def content_hash(row: dict[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _row_ids(pool: PoolConfig, raw: Sequence[dict[str, Any]]) -> list[str]:
    own = [row.get("id") for row in raw]
    if all(value is None for value in own):
        return [f"{index}-{content_hash(row)[:8]}" for index, row in enumerate(raw)]
    seen: dict[str, int] = {}
    for index, value in enumerate(own):
        if value is None:
            raise UserError(
                f"pool {pool.path}, row {index}: no 'id', but other rows have one. "
                "Give every row an id, or none (position and content hash are used then)."
            )
        if str(value) in seen:
            raise UserError(
                f"pool {pool.path}, row {index}: id '{value}' stands in row {seen[str(value)]} already. "
                "Remove the repeated row, or the id column (position and content hash are used then)."
            )
        seen[str(value)] = index
    return [str(value) for value in own]


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


def _check_bad_rows(pool: PoolConfig, rows: Sequence[Row]) -> None:
    bad = [row for row in rows if row.failure]
    if not bad or pool.bad_rows == "exclude":
        return
    shown = "; ".join(
        f"row {row.index} ({row.row_id}): {str(row.failure).replace('_', ' ')}" for row in bad[:MOST_SHOWN]
    )
    more = f" and {len(bad) - MOST_SHOWN} more" if len(bad) > MOST_SHOWN else ""
    raise UserError(
        f"pool {pool.path}: {len(bad)} of {len(rows)} rows cannot be used: {shown}{more}. "
        "Fill or remove them, or set pool.bad_rows to 'exclude': they are then never scored and never selected."
    )
