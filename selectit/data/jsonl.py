"""JSONL files: read strictly, or as far as they are whole; written at once, or line by line as results come.

A killed process may leave half a line at the end of a file that it appended to. `append_jsonl` ends such a line first,
and `whole_lines` passes over it.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from selectit.data.arrow_rows import json_form
from selectit.data.text_files import read_utf8
from selectit.errors import UserError


def iter_jsonl(path: Path, errors: str = "strict") -> Iterator[Any]:
    """The value of each line but blank ones; a file that ends in .gz is decompressed, a byte-order mark left out.

    Args:   errors: what becomes of bytes that are not UTF-8, as `open` takes it.
    Raises: UserError naming file and line where a line is not JSON, or the file is not UTF-8 or not a whole .gz.
    """
    return (value for _, value in numbered_jsonl(path, errors))


def numbered_jsonl(path: Path, errors: str = "strict") -> Iterator[tuple[int, Any]]:
    """The same, each with the number of its line from 1."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", errors=errors) as f:
            yield from numbered_values(f, path)
    except UnicodeDecodeError as error:
        if path.suffix != ".gz":
            read_utf8(path, str(path))  # raises, with line and encoding
        raise UserError(f"{path} holds bytes that are not UTF-8; save the text as UTF-8 before it is packed") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not a whole .gz file ({error}); get it again, or unpack it") from error


def numbered_values(lines: Iterable[str], path: Path) -> Iterator[tuple[int, Any]]:
    """As `numbered_jsonl`, of a file that is open. Args: path: for messages."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg}); one JSON object per line") from error
        except (ValueError, RecursionError) as error:  # thousands of digits or of brackets
            raise UserError(f"{path}, line {number}: JSON that cannot be read ({error})") from error
        yield number, value


def read_jsonl(path: Path) -> list[Any]:
    """Raises: UserError, as `iter_jsonl`."""
    return list(iter_jsonl(path))


def jsonl_lines(values: Iterable[Any]) -> Iterator[str]:
    """Each value as a line; dates, decimals and bytes in the form of `json_form`."""
    encode = json.JSONEncoder(ensure_ascii=False, default=json_form).encode
    return (encode(value) + "\n" for value in values)


def write_jsonl(path: Path, values: Iterable[Any]) -> None:
    with path.open("w", encoding="utf-8") as f:
        f.writelines(jsonl_lines(values))


def append_jsonl(path: Path, values: Iterable[Any], *, durable: bool = False) -> None:
    """Append lines, in ASCII, which holds any text.

    Args: durable: they are on the disk when this returns.
    """
    lines = "".join(json.dumps(value) + "\n" for value in values).encode()
    with path.open("a+b") as f:
        if f.tell() and not _ends_a_line(f):
            lines = b"\n" + lines  # what a kill left torn must not swallow the first of these
        f.write(lines)
        if durable:
            f.flush()
            os.fsync(f.fileno())


def _ends_a_line(f: IO[bytes]) -> bool:
    f.seek(-1, os.SEEK_END)
    return f.read(1) == b"\n"


def whole_lines(path: Path) -> Iterator[Any]:
    """The values of the lines that are JSON; torn and damaged ones are passed over. No file: none."""
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        yield value


def new_lines(path: Path, position: int) -> tuple[list[Any], int]:
    """Args:    position: in bytes, where the last call ended.
    Returns: the values of the lines that were ended since, by a process that is still writing; and the new position.
    """
    if not path.exists():
        return [], position
    with path.open("rb") as f:
        f.seek(position)
        content = f.read()
    ended = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in ended.splitlines()], position + len(ended)
