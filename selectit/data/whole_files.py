"""Files that are there whole or not at all: written next to their place under another name, then renamed.

What a killed process leaves is `<name>.part`; the next one writes over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"


def part_of(path: Path) -> Path:
    """Where a file or folder is written before it is renamed to `path`."""
    return path.with_name(path.name + PART)


def unfinished(path: Path) -> Path:
    """The same for a file or folder that a person named, behind symbolic links: a name that nobody else gives, so what
    a killed command left there may be replaced.
    """
    whole = path.resolve()
    return whole.with_name(f".{whole.name}.selectit-unfinished")


@contextmanager
def whole_file(path: Path, *, durable: bool = False, shared: bool = False, named: bool = False) -> Iterator[Path]:
    """The path to write to, which becomes `path` at the end of the block, and is removed where the block raises.

    Args:
        durable: on the disk before it is renamed, so that a power cut leaves no empty file.
        shared: several processes may write it at once; the last one wins.
        named: the path is a person's, next to files that are not this project's.
    """
    if named:
        path, part = path.resolve(), unfinished(path)
    else:
        part = part_of(path.with_name(f"{path.name}.{os.getpid()}") if shared else path)
    try:
        yield part
        if durable:
            with part.open("rb") as f:
                os.fsync(f.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, durable: bool = False, shared: bool = False) -> None:
    """Write a small file; text as UTF-8, its line ends as they are."""
    with whole_file(path, durable=durable, shared=shared) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
