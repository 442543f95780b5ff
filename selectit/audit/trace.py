"""From a table back to the artifact folders behind it: results.csv, the folders it names, and what those read.

Works on a runs folder that was copied or unpacked elsewhere: folders are found by name, never by a recorded path.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selectit.artifact import MANIFEST, read_manifest
from selectit.errors import UserError

RESULTS = "results.csv"
ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class ResultsFolder:
    """A report's folder, and the artifact folders beside it."""

    path: Path
    lines: tuple[dict[str, str], ...]
    """results.csv."""

    @property
    def artifacts(self) -> Path:
        return self.path.parent / ARTIFACTS

    @property
    def names(self) -> list[str]:
        """The artifact folders that the table names, each once, in its order."""
        return list(dict.fromkeys(line["artifact"] for line in self.lines if line["artifact"]))


def is_results(folder: Path) -> bool:
    return (folder / RESULTS).is_file()


def is_artifact(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def open_results(folder: Path) -> ResultsFolder:
    """A folder with results.csv, or one that holds a single such folder (a runs folder, an unpacked export).

    Raises: UserError where there is none or more than one, or the table cannot be read.
    """
    found = [folder] if is_results(folder) else sorted(p.parent for p in folder.glob(f"*/{RESULTS}"))
    if not found:
        raise UserError(
            f"{folder} holds no {RESULTS}; name a recipe, the folder of a report such as runs/<recipe name>, or an "
            "artifact folder"
        )
    if len(found) > 1:
        raise UserError(f"{folder} holds several reports; name one of {', '.join(str(path) for path in found)}")
    with (found[0] / RESULTS).open(encoding="utf-8", newline="") as f:
        lines = tuple(csv.DictReader(f))
    if not lines or not {"row", "benchmark", "value", "artifact", "fingerprint"} <= set(lines[0]):
        raise UserError(f"{found[0] / RESULTS} has no lines or not the columns of a report; run selectit report again")
    return ResultsFolder(found[0], lines)


def with_inputs(artifacts: Path, names: Iterable[str]) -> list[str]:
    """The folders, and those that they were made from, each once, inputs first."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        manifest = read_manifest(artifacts / name) or {}
        for other in manifest.get("inputs", {}).values():
            visit(other)
        found[name] = None

    for name in names:
        visit(name)
    return list(found)
