"""Content hashes of values, files and folders, and the folder in which a user's are remembered between runs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from selectit.data.whole_files import write_whole
from selectit.errors import UserError

CHECKPOINT_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".jinja", ".txt", ".py", ".tiktoken")
MEMORY_BEGINS = '{\n"'
NUM_TIMES_AND_SIZES = 4
"""Of a file that is remembered, behind its path in the key."""
MEMORY = "hashes.json"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks.

    Raises: TypeError for a value whose text could change between runs (sets, objects, NaN).
    """
    return json.dumps(_stable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _stable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no stable form")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys must be text: {list(value)}")
        return {key: _stable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_stable(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no stable form: {value!r:.80}")


def digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Hasher:
    """Content hashes of files and folders, remembered by path, size, inode and the times of the last changes.

    A copy that keeps the modification time of another file (`cp -p`, `rsync -t`) still has a change time of its own.

    Args:   memory: the JSON file that keeps them between runs; weights of tens of GB are read once.
    Raises: UserError where the file is not such a memory.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, str] = {}
        if memory and memory.is_file():
            if not is_memory(memory):
                raise UserError(f"{memory} is there and does not hold this project's hashes; name another folder")
            try:
                self._known = json.loads(memory.read_text())
            except json.JSONDecodeError:
                memory.unlink()  # a torn cache is worth nothing and costs one more reading

    def file(self, path: Path) -> str:
        if (key := state_of(path)) not in self._known:
            with path.open("rb") as f:
                self._known[key] = hashlib.file_digest(f, "sha256").hexdigest()
            self._remember()
        return self._known[key]

    def remember(self, path: Path, content: str) -> None:
        """Of a file that was just written. Args: content: its sha256."""
        self._known[state_of(path)] = content
        self._remember()

    def files(self, paths: list[Path], root: Path) -> str:
        return digest({str(path.relative_to(root)): self.file(path) for path in sorted(paths)})

    def checkpoint(self, path: Path) -> str:
        """The files of a model folder that decide what it says; README, logs and hidden files do not count."""
        return self.files([p for p in _visible_files(path) if p.suffix in CHECKPOINT_SUFFIXES], path)

    def dataset(self, path: Path) -> str:
        """Every file of a dataset folder but hidden ones."""
        return self.files(_visible_files(path), path)

    def _remember(self) -> None:
        if self._memory is None:
            return
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._memory, json.dumps(self._known, indent=0), shared=True)


def is_memory(path: Path) -> bool:
    """Whether a file holds hashes as `Hasher` keeps them, or what is left of them where it was torn; True: no file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        known = json.loads(text)
    except json.JSONDecodeError:
        left = text.strip("\0")  # what a power failure leaves
        return left[: len(MEMORY_BEGINS)] == MEMORY_BEGINS[: len(left)]
    return isinstance(known, dict) and all(
        key.count("|") >= NUM_TIMES_AND_SIZES and isinstance(value, str) for key, value in known.items()
    )


def state_of(path: Path) -> str:
    """What changes where the content of a file does."""
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"


def _visible_files(folder: Path) -> list[Path]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def user_folder() -> Path:
    """Where this user's hashes and parsed pools are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selectit"


def user_hasher() -> Hasher:
    """Remembers hashes for all runs of this user: a file is read again once its size, times or inode change."""
    return _hasher_in(user_folder())


@cache
def _hasher_in(folder: Path) -> Hasher:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:  # a read-only home on a compute node: hashes are computed once a process
        return Hasher()
    return Hasher(folder / MEMORY)
