"""Where a command may write: never over what it reads, nor over another of its outputs, nor over a user's files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from selectit.data.hashes import is_memory
from selectit.errors import UserError
from selectit.store.kinds import KINDS
from selectit.store.names import (
    ARTIFACTS_FOLDER,
    CHECKPOINTS_FOLDER,
    EPOCHS_FOLDER,
    ERROR,
    EXAMPLE_FILE,
    HASHES_FILE,
    MANIFEST,
    METRICS_FILE,
    RESULTS_FILE,
    ROW_TOKENS_FILE,
    STAGE_FILE,
    VERIFICATION,
)
from selectit.store.runs_folder import check_writable

OF_EVERY_STAGE = (MANIFEST, STAGE_FILE, ERROR, VERIFICATION, METRICS_FILE)
"""What any stage may write next to its own outputs."""
OF_TRAINING = (
    CHECKPOINTS_FOLDER, EPOCHS_FOLDER, EXAMPLE_FILE, ROW_TOKENS_FILE,
    "train_config.json", "logs", "tensorboard", "mlruns",
)  # fmt: skip
WORK = {
    "score": ("ledger",),
    "losses": ("ledger",),
    **{kind: OF_TRAINING for kind in KINDS if kind.startswith("finetune-")},
}
"""What stages write in their folder next to their outputs; some remove it when they end."""
POOL = "POOL"
CONTAINERS = ("--data", "--runs-dir", "--reuse")
"""Options whose folder may hold outputs too. Any other folder that is read stays as it is: what is written into it
would become a part of the pool, or of the model, which would then be another one.
"""


FILES = ("--template", "--set template", "--rating-prompts", "--profile")
"""Options that take a word or a file: a folder of the word's name is not read."""


@dataclass(frozen=True)
class Output:
    """A file that a command writes, or a folder in which it writes `names`."""

    option: str
    path: Path
    names: tuple[str, ...] | None = None
    """Files and folders that are written in the folder, (): all of a new folder; None: `path` is a file."""
    is_own: Callable[[Path], bool] | None = None
    """Whether the path was written by this command before: where it was not, nothing of it may be there already. None:
    what is there is replaced, as the user asks.
    """
    holds: tuple[str, ...] = ()
    """Folders of earlier work in it, which may be read, and where no other output may lie."""
    made_later: bool = False
    """It is made, and found writable, when the first stage starts: a command that is refused before leaves none."""

    @property
    def written(self) -> list[Path]:
        return [self.path / name for name in self.names] if self.names else [self.path]

    @property
    def taken(self) -> list[Path]:
        return [*self.written, *(self.path / name for name in self.holds)]


def stage_folder(option: str, path: Path, kind: str) -> Output:
    """The folder that one stage writes."""
    names = (*KINDS[kind].outputs, *OF_EVERY_STAGE, *WORK.get(kind, ()))
    return Output(option, path, names, lambda folder: (folder / STAGE_FILE).exists())


def evaluation_folder(option: str, path: Path) -> Output:
    """The folder of `selectit evaluate` and `selectit grade`: results.json, and a runs folder of its own."""
    return Output(option, path, (RESULTS_FILE, ARTIFACTS_FOLDER, HASHES_FILE), _is_evaluation_folder)


def runs_folder(path: Path) -> Output:
    """Where stages keep what they make, for any number of commands and recipes."""
    return Output("--runs-dir", path, (HASHES_FILE,), _is_runs_folder, (ARTIFACTS_FOLDER,), made_later=True)


def check_outputs(inputs: Mapping[str, Iterable[str | Path | None]], *outputs: Output) -> None:
    """Call this before any work. Creates the folders in which files will be written.

    Args:   inputs: what a command reads, by the option or argument that names it; hub ids and words are passed over.
    Raises: UserError where an output is an input (by path, symbolic or hard link), lies where another output does, lies
        in a folder that is read, would replace files of the user's, or cannot be written.
    """
    read = [
        (option, Path(place))
        for option, places in inputs.items()
        for place in places
        if place and Path(place).exists() and not (option in FILES and Path(place).is_dir())
    ]
    for number, output in enumerate(outputs):
        _check_form(output)
        for option, place in read:
            _check_apart(output, option, place)
        for other in outputs[:number]:
            _check_two(output, other)
        _check_own(output)
    for output in outputs:
        path = output.path.resolve()  # a symbolic link is written through
        if not output.made_later:
            check_writable(path.parent if output.names is None else path)


def _check_form(output: Output) -> None:
    if output.names is None:
        if output.path.is_dir():
            raise UserError(f"{output.option} {output.path} is a folder; name a file")
        return
    if output.path.exists() and not output.path.is_dir():
        raise UserError(f"{output.option} {output.path} is a file; name a folder")


def _check_apart(output: Output, option: str, place: Path) -> None:
    """Raises: UserError where an output would replace an input, or become a part of it."""
    if (taken := _overwritten(output, place)) is not None:
        raise UserError(
            f"{output.option} {output.path}: this would write over {taken}, which {option} reads; name another "
            f"{output.option}"
        )
    if not place.is_dir() or not _is_below(output.path, place):
        return
    if option not in CONTAINERS:
        raise UserError(
            f"{output.option} {output.path}: it lies in {place}, which {option} reads, and would become a part of it; "
            f"name another {output.option}"
        )
    if output.names is None and output.path.exists():
        raise UserError(
            f"{output.option} {output.path}: this would write over a file of {place}, which {option} reads; name "
            f"another {output.option}"
        )


def _check_two(output: Output, other: Output) -> None:
    """Raises: UserError where two outputs are the same file, or one lies in what another one is or holds."""
    for mine in output.taken:
        for its in other.taken:
            if _is_same(mine, its):
                raise UserError(
                    f"{output.option} {output.path} and {other.option} {other.path} are the same file; name two"
                )
            if _is_below(mine, its) or _is_below(its, mine):
                inner, outer = (output, other) if _is_below(mine, its) else (other, output)
                raise UserError(
                    f"{inner.option} {inner.path} lies in {its if outer is other else mine}, which {outer.option} "
                    f"{outer.path} writes; name another {inner.option}"
                )


def _check_own(output: Output) -> None:
    if output.is_own is None or output.is_own(output.path):
        return
    there = [path.name for path in output.written if path.exists() or path.is_symlink()]
    if there:
        are, were, them = ("is", "was", "it") if len(there) == 1 else ("are", "were", "them")
        raise UserError(
            f"{output.option} {output.path}: {', '.join(there)} {are} there and {were} not written by this command, "
            f"which would replace {them}; name another {output.option}"
        )


def _is_runs_folder(folder: Path) -> bool:
    return is_memory(folder / HASHES_FILE)


def _is_evaluation_folder(folder: Path) -> bool:
    """Also one in which no stage was begun."""
    stages = folder / ARTIFACTS_FOLDER
    if not is_memory(folder / HASHES_FILE):
        return False
    if not stages.is_dir():
        return not stages.exists() and not (folder / RESULTS_FILE).exists()
    return all(path.name.rpartition("-")[0] in KINDS or path.name.startswith(".") for path in stages.iterdir())


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
