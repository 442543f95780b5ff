"""What a caller gives as rows: a path, a list of dicts or a `datasets.Dataset`, as a pool that stages can read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from selectit.api.running import plain
from selectit.config import PoolConfig
from selectit.data.arrow_rows import json_form
from selectit.data.files import raw_rows
from selectit.errors import UserError

BATCH_ROWS = 1000


class GivenRows:
    """Args:   rows: as the caller gave them; pool: further fields of the pool; folder: where a file of them may lie.
    Raises: UserError for rows of another kind.
    """

    def __init__(self, rows: Any, pool: Mapping[str, Any] | None, folder: Path) -> None:
        fields = plain(pool or {})
        if "path" in fields:
            raise UserError("pool: path is what the first argument names; leave it out")
        self._own: Sequence[Any] | None = None
        if isinstance(rows, str | PathLike):
            path = str(rows)
        elif _is_dataset(rows):
            path = str(_written_dataset(rows, folder))
        elif isinstance(rows, Iterable) and not isinstance(rows, Mapping) and not hasattr(rows, "columns"):
            self._own = list(rows)
            path = str(_written(self._own, folder))
        else:
            raise UserError(
                f"rows are {type(rows).__name__}; give a path, a hub id, a list of dicts, or a datasets.Dataset (of a "
                "DatasetDict one split, of a pandas table `table.to_dict('records')`)"
            )
        self.section: dict[str, Any] = {**fields, "path": path}
        self.inputs: list[str] = [path] if isinstance(rows, str | PathLike) else []

    def of(self, subset: Path) -> list[dict[str, Any]]:
        """The rows of a subset; of a list those that were given, not copies."""
        found = list(raw_rows(PoolConfig(path=str(subset))))
        if self._own is None:
            return found
        given = iter(self._own)  # both in the same order
        return [next(row for row in given if json.loads(_text(row)) == one) for one in found]


def _is_dataset(rows: Any) -> bool:
    datasets = sys.modules.get("datasets")  # who holds one has imported it
    return datasets is not None and isinstance(rows, datasets.Dataset)


def _written_dataset(dataset: Any, folder: Path) -> Path:
    import pyarrow.parquet as parquet

    path = folder / "rows.parquet"
    tables = dataset.with_format("arrow")
    with parquet.ParquetWriter(path, tables[:0].schema) as writer:
        for table in tables.iter(BATCH_ROWS):
            writer.write_table(table)
    return path


def _written(rows: Sequence[Any], folder: Path) -> Path:
    path = folder / "rows.jsonl"
    with path.open("w", encoding="ascii") as f:
        f.writelines(f"{_text(row)}\n" for row in rows)
    return path


def _text(row: Any) -> str:
    """In ASCII, which holds any text."""
    return json.dumps(row, default=json_form)
