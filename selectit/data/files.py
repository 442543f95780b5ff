"""The files and data sets that a pool's rows come from, and the rows as they stand there.

JSON, JSONL, CSV and TSV (each also as .gz or .zst), Parquet, several such files, dataset folders and hub data sets.
"""

from __future__ import annotations

import codecs
import csv
import functools
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from selectit.config import PoolConfig
from selectit.data.arrow_rows import rows_of, taken
from selectit.data.jsonl import numbered_values
from selectit.data.row_ids import draw
from selectit.data.text_files import MARKS
from selectit.errors import UserError

if TYPE_CHECKING:
    import numpy as np

FORMS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
"""What a file holds, by the end of its name; of the text forms also with COMPRESSED behind it."""
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
READABLE = f"{', '.join(FORMS)} (all but .parquet also with {' or '.join(COMPRESSED)} behind it)"
BATCH_ROWS = 1000
"""Rows of a Parquet file or a hub dataset that are Python objects at a time."""
NOT_UTF8 = "surrogateescape"
"""Bytes that are not UTF-8 become halves of characters, so that their row can be named instead of the file."""
SAVED = ("state.json", "dataset_dict.json")
"""One of these lies in a folder that `Dataset.save_to_disk` wrote."""
LARGEST_CELL = 1 << 30
"""Characters."""


def form_of(path: Path) -> str:
    """The end of a file's name that says what it holds, without that of a compression."""
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def subset_suffix(pool: PoolConfig) -> str:
    """How a subset of the pool is named: as the pool is, uncompressed; of several files or a data set JSONL."""
    path = Path(pool.path)
    return form_of(path) if path.is_file() else ".jsonl"


def is_arrow(pool: PoolConfig) -> bool:
    """Whether its rows, or some of them, come from Arrow tables, and so may hold what JSON does not."""
    files = pool.files()
    if files is None:
        files = [Path(pool.path)]
    return any(form_of(file) == ".parquet" or _is_dataset(file) for file in files)


def rows_in_file(pool: PoolConfig) -> Iterable[tuple[int, Any]]:
    """Position in the file, and the row: of all rows, or of those that `pool.sample` draws.

    Raises: UserError where there is no such pool, or a file of it cannot be read.
    """
    if pool.sample is None:
        return enumerate(raw_rows(pool))
    positions = drawn(pool)
    return zip(positions.tolist(), _rows_at(pool, positions), strict=True)


def raw_rows(pool: PoolConfig) -> Iterable[Any]:
    """Every row as it stands in its file; objects, and whatever else a file has in their places."""
    if (files := pool.files()) is not None:
        if not files:
            raise UserError(f"pool {pool.path} names no file; a pattern such as pool/*.jsonl names at least one")
        return itertools.chain.from_iterable(map(_rows_of_file, files))
    path = Path(pool.path)
    return _rows_of_dataset(_dataset(pool)) if _is_dataset(path) else _rows_of_file(path)


def drawn(pool: PoolConfig) -> np.ndarray:
    """int64 [num_rows of the draw], positions in the file, ascending.

    Raises: UserError for a pool with fewer rows, and as `RowIds` does for its ids.
    """
    path = Path(pool.path)
    stat = path.stat() if path.is_file() else None
    return _draw(pool.model_copy(update={"limit": None}), None if stat is None else (stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=8)
def _draw(pool: PoolConfig, state_of_file: tuple[int, int] | None) -> np.ndarray:
    """Once in a process for each state of a file, however often the pool is read."""
    return draw(pool, raw_rows)


def _rows_at(pool: PoolConfig, positions: np.ndarray) -> Iterator[Any]:
    """The rows at ascending positions; those between them become no Python objects where the form allows it."""
    path = Path(pool.path)
    if pool.files() is None and _is_dataset(path):
        yield from _rows_of_dataset(_dataset(pool).select(positions))
    elif pool.files() is None and path.suffix == ".parquet":
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
        for position, raw in enumerate(raw_rows(pool)):
            if position == at:
                yield raw
                if (at := next(wanted, None)) is None:
                    return


def _rows_of_file(path: Path) -> Iterable[Any]:
    return _unpacked(path) if path.suffix in COMPRESSED else _rows_of_form(path)


def _unpacked(path: Path) -> Iterator[Any]:
    try:
        yield from _rows_of_form(path)
    except OSError as error:
        raise UserError(f"pool {path}: not a whole {path.suffix} file ({error}); get it again, or unpack it") from error


def _rows_of_form(path: Path) -> Iterable[Any]:
    form = form_of(path)
    if form == ".jsonl":
        return _jsonl(path)
    if form in (".csv", ".tsv"):
        return _csv(path, "," if form == ".csv" else "\t")
    if form == ".json":
        with _opened(path) as f:
            text = f.read()
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"pool {path}: not JSON ({error.msg}, line {error.lineno}); a file of one object per line is .jsonl"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"pool {path}: JSON that cannot be read ({error})") from error
        if not isinstance(content, list):
            raise UserError(f"pool {path}: found a JSON {type(content).__name__}; a pool is a list of rows")
        return content
    if path.suffix == ".parquet":
        return (row for batch in _parquet_batches(path) for row in rows_of(batch))
    raise UserError(f"pool {path}: files that can be read end in {READABLE}")


def _opened(path: Path) -> IO[str]:
    """Text of a file without its byte-order mark; line ends as they stand.

    Raises: UserError for a file in UTF-16 or UTF-32.
    """
    import pyarrow as pa

    stream = pa.input_stream(str(path), compression=COMPRESSED.get(path.suffix))
    text = io.BufferedReader(stream, 1 << 20)
    start = text.peek(4)[:4]
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            raise _encoding(path, encoding)
    if b"\0" in start:
        raise _encoding(path, "UTF-16LE" if start[1:2] == b"\0" else "UTF-16BE")
    if start.startswith(codecs.BOM_UTF8):
        text.read(len(codecs.BOM_UTF8))
    return io.TextIOWrapper(text, encoding="utf-8", errors=NOT_UTF8, newline="")


def _encoding(path: Path, encoding: str) -> UserError:
    return UserError(
        f"pool {path} is in {encoding}. Save it as UTF-8, such as with `iconv -f {encoding} -t UTF-8 {path.name}`."
    )


def _jsonl(path: Path) -> Iterator[Any]:
    with _opened(path) as f:
        yield from (value for _, value in numbered_values(f, path))


def _csv(path: Path, delimiter: str) -> Iterator[Any]:
    """Each line's cells as text, by the names in the first one; of a line with more or fewer cells the list of them."""
    csv.field_size_limit(LARGEST_CELL)
    with _opened(path) as f:
        lines = csv.reader(f, delimiter=delimiter, strict=True)
        names: list[str] | None = None
        try:
            for cells in lines:
                if not cells:
                    continue
                if names is None:
                    names = cells
                    if twice := sorted({name for name in names if names.count(name) > 1}):
                        raise UserError(f"pool {path}: column '{twice[0]}' stands there twice; a name is of one column")
                else:
                    yield dict(zip(names, cells, strict=True)) if len(cells) == len(names) else cells
        except csv.Error as error:
            raise UserError(f"pool {path}, line {lines.line_num}: not {form_of(path)[1:].upper()} ({error})") from error


def _parquet_batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return parquet.ParquetFile(path).iter_batches(BATCH_ROWS)  # type: ignore[no-any-return]
    except pa.ArrowInvalid as error:
        raise UserError(f"pool {path}: not a Parquet file ({str(error).splitlines()[0]})") from error


def _is_dataset(path: Path) -> bool:
    return path.is_dir() or not path.suffix or not path.exists()


def _rows_of_dataset(dataset: Any) -> Iterator[dict[str, Any]]:
    batches = (part for table in dataset.with_format("arrow").iter(BATCH_ROWS) for part in table.to_batches())
    return (row for batch in batches for row in rows_of(batch))


def _dataset(pool: PoolConfig) -> Any:
    """A hub dataset id, a folder in the hub's layout or one that datasets saved; its rows stay on disk."""
    path = Path(pool.path)
    if pool.path.startswith(("/", ".", "~")) and not path.exists():
        raise UserError(f"pool {pool.path} does not exist; name a file that ends in {READABLE}, or a hub dataset id")
    saved = any((path / name).is_file() for name in SAVED)
    try:
        if saved:
            return _saved_dataset(pool)
        return _load_dataset(pool.path, pool.name, pool.revision, pool.split)
    except UserError:
        raise
    except Exception as error:
        what = "folder" if path.is_dir() else "hub dataset"
        raise UserError(
            f"pool {pool.path}: neither a file here nor a readable {what} with split '{pool.split}' ({_reason(error)})"
        ) from error


def _reason(error: BaseException) -> str:
    """The whole reason on one line, with what caused it: datasets wraps it in an error that says little."""
    texts: list[str] = []
    while error is not None and len(texts) < 3:
        text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
        if not any(text in known for known in texts):
            texts.append(text)
        error = error.__cause__  # type: ignore[assignment]
    return "; ".join(texts)


def _saved_dataset(pool: PoolConfig) -> Any:
    from datasets import Dataset, load_from_disk

    found = load_from_disk(pool.path)
    name, _, part = pool.split.partition("[")
    if isinstance(found, Dataset):
        if (own := found.split) is not None and str(own) != name:
            raise UserError(f"pool {pool.path} is the split '{own}'; set pool.split (--split) to it")
    elif name in found:
        found = found[name]
    else:
        raise UserError(f"pool {pool.path} has no split '{name}'; it has {', '.join(found)} (pool.split, --split)")
    if part:
        raise UserError(f"pool {pool.path} is a saved folder, of which pool.split takes no slice; set pool.limit")
    return found


@functools.lru_cache(maxsize=4)
def _load_dataset(path: str, name: str | None, revision: str | None, split: str) -> Any:
    """Once in a process: the hub is asked once, however often the pool is read, and all readings are of one state."""
    from datasets import load_dataset

    return load_dataset(path, name, revision=revision, split=split)
