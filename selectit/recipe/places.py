"""The file and line in which a key of a recipe stands, for the sentence that finds fault with it.

Reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.yaml_text import key_of, with_line

SET = "--set"
GRID = "grid."
Written = Sequence[tuple[str, Mapping[str, int]]]
"""Where something is written, the file's name or `--set`, and dotted key -> line; the first ancestor first."""


def placed(fault: str, written: Written, recipe: Path) -> str:
    """A fault that begins with a dotted key, with the line of the key in front, and the file where it is a parent.

    The last place that has the key is where its value comes from. Of a key that is written nowhere, it is the line of
    the grid's key that sets it, or of the nearest section around it.
    """
    keys = [key for _, lines in written for key in lines]
    key = key_of(fault, keys)
    if key is None:
        return fault
    if not fault.startswith(f"{key}:"):
        key = _of_grid(fault, keys) or key
    where, line = next((where, line) for where, lines in reversed(written) if (line := _line(key, lines)) is not None)
    if where == SET:
        return f"{SET}: {fault}"
    placed = with_line(fault, line)
    return placed if where == str(recipe) else f"{where}, {placed}"


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    """Of the key, else of the first one inside of it."""
    inside = [line for other, line in lines.items() if other.startswith(f"{key}.")]
    return lines.get(key, min(inside, default=None))


def keys_of(raw: Any, at: str = "") -> Iterator[str]:
    """Every dotted key of nested mappings and lists, sections included."""
    inside = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in inside:
        yield f"{at}{key}"
        yield from keys_of(value, f"{at}{key}.")


def _of_grid(fault: str, keys: Iterable[str]) -> str | None:
    named = fault.partition(": ")[0]
    return next((key for key in keys if key.startswith(GRID) and named.endswith(f".{key.removeprefix(GRID)}")), None)
