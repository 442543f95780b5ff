"""Rows of the authors' files: read and checked, and written as they are fetched. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selectit.data.jsonl import jsonl_lines
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Rows


def json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def rows_with(path: Path, rows: Iterable[dict[str, Any]], keys: tuple[str, ...]) -> Rows:
    """The rows with these keys and no others."""
    found = []
    for number, row in enumerate(rows, 1):
        if missing := [key for key in keys if key not in row]:
            raise UserError(f"{path}, item {number} has no {', '.join(missing)}; it needs {', '.join(keys)}")
        found.append({key: row[key] for key in keys})
    return found


def only(rows: Rows, *keys: str) -> Rows:
    return [{key: row[key] for key in keys} for row in rows]


def as_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(jsonl_lines(rows)).encode()
