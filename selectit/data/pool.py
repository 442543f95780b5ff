"""Pools of instruction data: their rows, from what is kept of a parsed pool or from its files, and subsets of them.

Every row keeps its raw form, so that a subset, written in the pool's own format, is what came in.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from selectit.config import PoolConfig
from selectit.data.arrow_rows import json_form, taken
from selectit.data.duplicates import KINDS, repeats
from selectit.data.files import drawn, subset_suffix
from selectit.data.hashes import state_of
from selectit.data.jsonl import write_jsonl
from selectit.data.kept import kept_numbers, kept_pool
from selectit.data.parsing import parsed_rows
from selectit.data.row import Row

__all__ = ["Row", "iter_pool", "read_pool", "rows_at", "write_rows", "write_subset"]

COPIED_ROWS = 2**16


def read_pool(pool: PoolConfig) -> list[Row]:
    """Every row of the pool, in order.

    Raises: UserError naming the file and the row for anything that is missing, malformed, empty or twice there.
    """
    return list(iter_pool(pool))


def iter_pool(pool: PoolConfig) -> Iterator[Row]:
    """The same row by row.

    Raises: as `read_pool`; for rows that cannot be used and for ids that stand twice once all have been read.
    """
    repeated = repeated_rows(pool)
    kept = kept_pool(pool)
    for row in parsed_rows(pool) if kept is None else kept.rows():
        if repeated is None or (earlier := repeated[row.index]) < 0:
            yield row
        else:
            yield replace(row, failure=KINDS[pool.deduplicate or ""], reason=f"it repeats row {earlier}")


def repeated_rows(pool: PoolConfig) -> np.ndarray | None:
    """int32 [num_rows], of each row the earlier one that it repeats, -1 for rows that stay; None: all stay.

    Raises: UserError, as `read_pool`.
    """
    if (how := pool.deduplicate) is None:
        return None
    plain = pool.model_copy(update={"deduplicate": None, "bad_rows": "exclude"})
    files = pool.files() or [Path(pool.path)]
    states = tuple(state_of(file) for file in files if file.is_file())
    return _repeated(plain, how, states)


@functools.lru_cache(maxsize=8)
def _repeated(pool: PoolConfig, how: Literal["exact", "near"], states_of_files: tuple[str, ...]) -> np.ndarray:
    """Once in a process for each state of the files."""
    return kept_numbers(pool, how, lambda: repeats(iter_pool(pool), how))


def rows_at(pool: PoolConfig, chosen: np.ndarray) -> Iterator[Row]:
    """Some rows, in the order of the pool. Args: chosen: bool [num_rows]."""
    kept = kept_pool(pool)
    if kept is None:
        yield from (row for row in parsed_rows(pool) if chosen[row.index])
    else:
        yield from kept.rows(chosen)


def write_subset(pool: PoolConfig, chosen: np.ndarray, out: Path) -> Path:
    """Some rows in the pool's own format, see `write_rows`. Args: chosen: bool [num_rows]."""
    kept = kept_pool(pool)
    if kept is None or not kept.has_lines or subset_suffix(pool) != ".jsonl":
        return write_rows(pool, rows_at(pool, chosen), out)
    path = out / "subset.jsonl"
    with path.open("w", encoding="utf-8") as f:
        f.writelines(kept.lines(chosen))
    return path


def write_rows(pool: PoolConfig, rows: Iterable[Row], out: Path, stem: str = "subset") -> Path:
    """Write rows, in the pool's order, in its own format to `out/<stem><suffix>`, uncompressed; of several files or a
    data set as JSONL, values that JSON has not in the form of `json_form`.
    """
    suffix = subset_suffix(pool)
    path = out / f"{stem}{suffix}"
    if suffix == ".json":
        text = json.dumps([row.raw for row in rows], ensure_ascii=False, indent=2, default=json_form)
        path.write_text(text + "\n", encoding="utf-8")
    elif suffix == ".jsonl":
        write_jsonl(path, (row.raw for row in rows))
    elif suffix in (".csv", ".tsv"):
        _write_cells(path, (row.raw for row in rows), "," if suffix == ".csv" else "\t")
    else:
        _copy_rows(pool, (row.index for row in rows), path)
    return path


def _write_cells(path: Path, rows: Iterable[dict[str, str]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, delimiter=delimiter, lineterminator="\n")
        for number, row in enumerate(rows):
            if number == 0:
                writer.writerow(row)
            writer.writerow(row.values())


def _copy_rows(pool: PoolConfig, indices: Iterable[int], path: Path) -> None:
    """Args: indices: ascending, of rows of a pool that is a Parquet file."""
    import numpy as np
    import pyarrow.parquet as parquet

    source = Path(pool.path)
    chosen = np.fromiter(indices, dtype=np.int64)
    if pool.sample is not None:
        chosen = drawn(pool)[chosen]
    num_rows = 0
    with parquet.ParquetFile(source) as file, parquet.ParquetWriter(path, file.schema_arrow) as writer:
        for batch in file.iter_batches(COPIED_ROWS):
            start, end = np.searchsorted(chosen, [num_rows, num_rows + len(batch)])
            for part in taken(batch, chosen[start:end] - num_rows):
                writer.write_batch(part)
            num_rows += len(batch)
