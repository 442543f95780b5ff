"""Where a command may write: never over what it reads, nor over another of its outputs, nor over a user's files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from selectit.errors import UserError
from selectit.store.artifact import check_writable
from selectit.store.kinds import KINDS
from selectit.store.names import ERROR, MANIFEST, METRICS_FILE, STAGE_FILE, VERIFICATION

OF_EVERY_STAGE = (MANIFEST, STAGE_FILE, ERROR, VERIFICATION, METRICS_FILE)
"""What any stage may write next to its own outputs."""


@dataclass(frozen=True)
class Output:
    """A file that a command writes, or a folder in which it writes `names`."""

    option: str
    path: Path
    names: tuple[str, ...] | None = None
    """Files and folders that are written in the folder; None: `path` is a file."""
    mark: str | None = None
    """A name that only a folder of this command's own has: without it, none of `names` may be there already."""

    @property
    def written(self) -> list[Path]:
        return [self.path] if self.names is None else [self.path / name for name in self.names]


def stage_folder(option: str, path: Path, kind: str) -> Output:
    """The folder that one stage writes."""
    return Output(option, path, (*KINDS[kind].outputs, *OF_EVERY_STAGE), STAGE_FILE)


POOL = "POOL"
"""The argument whose folder must stay as it is."""


def check_outputs(inputs: Mapping[str, Iterable[str | Path | None]], *outputs: Output) -> None:
    """Call this before any work. Creates the folders in which files will be written.

    Args:   inputs: what a command reads, by the option or argument that names it; hub ids and words are passed over.
    Raises: UserError where an output is an input (by path, symbolic or hard link), lies where another output does, lies
        in a folder that is read as a pool, would replace files of the user's, or cannot be written.
    """
    read = [
        (option, Path(place)) for option, places in inputs.items() for place in places if place and Path(place).exists()
    ]
    for number, output in enumerate(outputs):
        _check_form(output)
        for option, place in read:
            if (taken := _overwritten(output, place)) is not None:
                raise UserError(
                    f"{output.option} {output.path}: this would write over {taken}, which {option} reads; name another "
                    f"{output.option}"
                )
            if option == POOL and place.is_dir() and _is_below(output.path, place):
                raise UserError(
                    f"{output.option} {output.path}: it lies in {place}, which is read as the pool, and would become a "
                    f"part of it; name another {output.option}"
                )
        for other in outputs[:number]:
            if any(_is_same(mine, its) for mine in output.written for its in other.written):
                raise UserError(
                    f"{output.option} {output.path} and {other.option} {other.path} are the same file; name two"
                )
        _check_own(output)
    for output in outputs:
        check_writable(output.path.absolute().parent if output.names is None else output.path)


def _check_form(output: Output) -> None:
    if output.names is None:
        if output.path.is_dir():
            raise UserError(f"{output.option} {output.path} is a folder; name a file")
        return
    if output.path.exists() and not output.path.is_dir():
        raise UserError(f"{output.option} {output.path} is a file; name a folder")


def _check_own(output: Output) -> None:
    if output.mark is not None and not (output.path / output.mark).exists():
        there = [path.name for path in output.written if path.exists() or path.is_symlink()]
        if there:
            raise UserError(
                f"{output.option} {output.path}: {', '.join(there)} is there and was not written by this command, "
                f"which would replace it; name another {output.option}"
            )


def _overwritten(output: Output, place: Path) -> Path | None:
    """What of an input an output would replace."""
    for path in output.written:
        if _is_same(path, place) or _is_below(place, path):
            return place
    return place if _is_same(output.path, place) else None


def _is_same(a: Path, b: Path) -> bool:
    if a.resolve() == b.resolve():
        return True
    return a.exists() and b.exists() and os.path.samefile(a, b)


def _is_below(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents
