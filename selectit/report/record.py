"""report.json: what a report was made of and with, and the sha256 of each of its files and of the record itself.

The hashes find a change by hand. They are not a signature: whoever rewrites a file and its hash is found only by making
the report again, as `selectit verify RECIPE` does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from selectit.store.names import REPORT_RECORD

MARK = ".report"
"""Stands in a report's folder from before its first file is written."""
SEAL = "sha256"
"""Key of the record's own hash, over all its other keys."""
LIBRARIES = ("matplotlib", "kiwisolver", "numpy", "scipy", "pyarrow", "jinja2", "markupsafe")
"""Other versions of these may draw, lay out or round otherwise."""
ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("", "finetune", "evaluate")
"""Folders of the code; the last two are links in a checkout, which a search does not follow."""


@functools.cache
def made_with() -> dict[str, str | None]:
    """Hash of this project's code and texts, any of which may show in a report; versions of Python and libraries."""
    parts = {
        f"{room}/{path.relative_to(ROOT / room).as_posix()}": path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pyo")
    }
    code = hashlib.sha256()
    for name in sorted(parts):
        code.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(parts[name].read_bytes()).digest())
    python = ".".join(platform.python_version_tuple()[:2])
    return {"code": code.hexdigest(), "python": python, **{name: _version(name) for name in LIBRARIES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {**record, SEAL: _seal(record)}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether the record is as it was written."""
    return record.get(SEAL) == _seal(record)


def _seal(record: Mapping[str, Any]) -> str:
    content = {key: value for key, value in record.items() if key != SEAL}
    return sha256(json.dumps(content, sort_keys=True, ensure_ascii=False))


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def read_record(folder: Path) -> dict[str, Any] | None:
    """report.json of a report's folder; None where there is none or it is not one."""
    try:
        record = json.loads((folder / REPORT_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_own(folder: Path) -> bool:
    """Whether a report was written in the folder, or begun."""
    return (folder / MARK).exists() or "fingerprint" in (read_record(folder) or {})


def changed_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Files of the report that are gone or not as they were written; also `report.json` itself."""
    own = [] if is_sealed(record) else [REPORT_RECORD]
    return own + [name for name, digest in files_of(record).items() if file_sha256(folder / name) != digest]


def files_of(record: Mapping[str, Any]) -> dict[str, str]:
    """File -> its sha256; {} where the record does not hold them."""
    files = record.get("files")
    return files if isinstance(files, dict) else {}


def file_sha256(path: Path) -> str | None:
    """None where there is no such file."""
    return sha256(path.read_bytes()) if path.is_file() else None
