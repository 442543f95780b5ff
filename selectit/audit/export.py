"""`selectit export`: a pack as a folder or as a zip whose bytes depend on its content only.

Writes SHA256SUMS last; refuses a file that is no longer the one its manifest describes.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO

from selectit.audit.pack import SUMS, Pack
from selectit.data.whole_files import whole_file
from selectit.errors import UserError

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold."""
CHUNK = 2**20


def write_pack(pack: Pack, out: Path) -> int:
    """Write to `out`: a zip where its name ends in .zip, else a new or empty folder.

    Returns: bytes on disk.
    Raises: UserError for a folder that holds something, or a file that is not what its manifest describes.
    """
    out = out.resolve()
    if out.suffix == ".zip":
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            whole_file(out, named=True) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        ):
            _write(pack, lambda name: archive.open(_entry(f"{pack.name}/{name}"), "w", force_zip64=True))
        return out.stat().st_size
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: it exists and is not an empty folder; name a new one, or a file ending in .zip")
    try:
        _write(pack, lambda name: _create(out / name))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # a pack without SHA256SUMS would look like a whole one
        raise
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def is_pack(path: Path) -> bool:
    """Whether a file is a zip that `write_pack` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith(f"/{SUMS}") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _write(pack: Pack, create: Callable[[str], IO[bytes]]) -> None:
    sums = []
    for name, content in sorted(pack.entries.items()):
        source = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
        digest = hashlib.sha256()
        with closing(source), create(name) as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
        if pack.expected.get(name, digest.hexdigest()) != digest.hexdigest():
            raise UserError(f"{name} is not the file that its manifest describes; selectit verify reports what differs")
        sums.append(f"{digest.hexdigest()}  {name}\n")
    with create(SUMS) as target:
        target.write("".join(sums).encode())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
    return entry


def _create(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")
