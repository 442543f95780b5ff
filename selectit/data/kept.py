"""Pools that have been parsed: Arrow tables in the user's cache, by the content of a pool and how it is read.

A table (`selectit.data.pool_table`) is made by one reading of the pool, and removed when nothing has read it for
`KEPT_DAYS`. Where it cannot be kept, the pool is parsed each time, and a warning gives the reason.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from selectit.config import PoolConfig
from selectit.data.files import form_of, is_arrow
from selectit.data.hashes import digest, user_folder, user_hasher
from selectit.data.parsing import parsed_rows
from selectit.data.pool_table import SCHEMA, KeptPool, batch_of
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
    return _remembered(_write(key, (batch_of(chunk, with_raw=not is_arrow(pool)) for chunk in chunks)), pool)


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
