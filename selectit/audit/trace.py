"""From a table back to the artifact folders behind it: results.csv, the folders it names, and what those read.

Works on a runs folder that was copied or unpacked elsewhere: folders are found by name, never by a recorded path.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selectit.errors import UserError
from selectit.report.record import read_record
from selectit.store.artifact import read_manifest
from selectit.store.names import ARTIFACTS_FOLDER, MANIFEST, RESULTS_CSV


@dataclass(frozen=True)
class ResultsFolder:
    """A report's folder, and the artifact folders next to it."""

    path: Path
    lines: tuple[dict[str, str], ...]
    """Lines of results.csv that have all its columns."""
    faults: tuple[str, ...] = ()
    """What is wrong with the others."""

    @property
    def artifacts(self) -> Path:
        return self.path.parent / ARTIFACTS_FOLDER

    @property
    def names(self) -> list[str]:
        """The artifact folders that the table or its record names, each once."""
        recorded = (read_record(self.path) or {}).get("artifacts")
        named = [str(name) for name in recorded] if isinstance(recorded, list) else []
        return list(dict.fromkeys([*(line["artifact"] for line in self.lines if line["artifact"]), *named]))


def is_results(folder: Path) -> bool:
    return (folder / RESULTS_CSV).is_file()


def is_artifact(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def open_results(folder: Path) -> ResultsFolder:
    """A folder with results.csv, or one that holds a single such folder (a runs folder, an unpacked export).

    Raises: UserError where there is none or more than one, or the table cannot be read.
    """
    found = [folder] if is_results(folder) else sorted(p.parent for p in folder.glob(f"*/{RESULTS_CSV}"))
    if not found:
        raise UserError(
            f"{folder} holds no {RESULTS_CSV}; name a recipe, the folder of a report such as runs/<recipe name>, or an "
            "artifact folder"
        )
    if len(found) > 1:
        raise UserError(f"{folder} holds several reports; name one of {', '.join(str(path) for path in found)}")
    lines, faults = _read(found[0] / RESULTS_CSV)
    if not faults and not lines:
        raise UserError(
            f"{found[0] / RESULTS_CSV} has no lines or not the columns of a report; run selectit report again"
        )
    return ResultsFolder(found[0], tuple(lines), tuple(faults))


def _read(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The whole lines, and a sentence for each that is not."""
    try:
        with path.open(encoding="utf-8", newline="") as f:
            header, *cells = list(csv.reader(f, strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        return [], [f"it is not a table of UTF-8 text ({error})"]
    if not {"row", "benchmark", "value", "artifact", "fingerprint"} <= set(header):
        return [], []
    lines, faults = [], []
    for number, line in enumerate(cells, start=2):
        if len(line) == len(header):
            lines.append(dict(zip(header, line, strict=True)))
        else:
            faults.append(f"record {number} has {len(line)} of {len(header)} columns; the file was cut or changed")
    return lines, faults


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
