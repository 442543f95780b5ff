"""The artifact folders under one runs folder: which are finished, and who may work in one.

A folder without a manifest is unfinished and is continued; a folder in which files that later stages read are gone or
changed in size is run again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selectit.errors import UserError
from selectit.store.artifact import Artifact, is_read_later, read_manifest
from selectit.store.fingerprint import Hasher, at, leaves
from selectit.store.names import ARTIFACTS_FOLDER, HASHES_FILE, STAGE_FILE

LOCK = ".lock"


class Store:
    """The artifact folders under one runs folder.

    Args:
        placed: kind -> the folder that the one stage of that kind writes, instead of one under the store.
        reuse: artifact folders, or runs folders, whose finished artifacts `alike` knows too.
        absent: `<folder>/<file>` -> sha256 of files that a finished artifact may lack, for what reads results only.
    """

    def __init__(
        self,
        runs_dir: Path,
        placed: Mapping[str, Path] | None = None,
        reuse: Sequence[Path] = (),
        absent: Mapping[str, str] | None = None,
    ) -> None:
        self.runs_dir = runs_dir
        self.root = runs_dir / ARTIFACTS_FOLDER
        self.hasher = Hasher(runs_dir / HASHES_FILE)
        self._placed = dict(placed or {})
        self._identities: dict[str, list[tuple[frozenset[tuple[str, str]], dict[str, Any]]]] = {}
        self._reuse = tuple(reuse)
        self._absent = dict(absent or {})

    def prepare(self) -> None:
        """Create the folders; called before the first stage runs, never for a plan.

        Raises: UserError where one cannot be written.
        """
        for folder in (self.root, *self._placed.values()):
            check_writable(folder)

    def folder(self, kind: str, fingerprint: str) -> Path:
        return self._placed.get(kind, self.root / f"{kind}-{fingerprint[:16]}")

    def find(self, kind: str, fingerprint: str) -> Artifact | None:
        """The finished artifact, or None where it is absent, unfinished or damaged."""
        path = self.folder(kind, fingerprint)
        manifest = read_manifest(path)
        if manifest is None or manifest["fingerprint"] != fingerprint:
            return None
        hashes = manifest.get("hashes", {})
        without = {name for name in hashes if self._absent.get(f"{path.name}/{name}") == hashes[name]}
        return None if _damage(path, manifest, without) else Artifact(path, manifest)

    def alike(self, stage_identity: Mapping[str, Any], keys: Sequence[str]) -> list[Artifact]:
        """Finished artifacts of the same kind and version whose identity agrees at the dotted keys, oldest first."""
        kind = stage_identity["kind"]
        folders = [
            path for root in (self.runs_dir, *self._reuse) for path in (root / ARTIFACTS_FOLDER).glob(f"{kind}-*")
        ]
        found = []
        for path in dict.fromkeys((*folders, *self._reuse)):
            manifest = read_manifest(path)
            if manifest is None or manifest["kind"] != kind or _damage(path, manifest):
                continue
            pairs = [(at(manifest["identity"], key), at(stage_identity, key)) for key in ("version", *keys)]
            if all(old == new for old, new in pairs):
                found.append(Artifact(path, manifest))
        return sorted(found, key=lambda artifact: artifact.manifest["finished"])

    def unfinished(self, kind: str, fingerprint: str) -> str:
        """Why a begun folder is not done."""
        path = self.folder(kind, fingerprint)
        manifest = read_manifest(path)
        damage = _damage(path, manifest) if manifest is not None else None
        return f"damaged: {damage}" if damage else "unfinished folder"

    def is_begun(self, kind: str, fingerprint: str) -> bool:
        """True where a stage has been at work in the folder."""
        return (self.folder(kind, fingerprint) / STAGE_FILE).is_file()

    def manifests(self, kind: str) -> Iterator[dict[str, Any]]:
        for path in sorted(self.root.glob(f"{kind}-*")):
            if (manifest := read_manifest(path)) is not None:
                yield manifest

    def identities(self, kind: str) -> list[tuple[frozenset[tuple[str, str]], dict[str, Any]]]:
        """Identities of the finished stages of a kind, each with its leaves; read once until `look_again`."""
        if kind not in self._identities:
            identities = [manifest["identity"] for manifest in self.manifests(kind)]
            self._identities[kind] = [(leaves(identity), identity) for identity in identities]
        return self._identities[kind]

    def look_again(self) -> None:
        """Others may have finished stages since `identities` read them."""
        self._identities.clear()

    @contextmanager
    def lock(self, path: Path, waiting: Any) -> Iterator[None]:
        """One process at a time in one folder; `waiting(text)` is called once if another holds it."""
        path.mkdir(parents=True, exist_ok=True)
        holder = path / ".holder"
        lock = FileLock(path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = holder.read_text() if holder.exists() else "another process"
            waiting(f"{path.name}: {who} is working on it; waiting")
            lock.acquire()
        try:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def _damage(path: Path, manifest: Mapping[str, Any], without: Collection[str] = ()) -> str | None:
    """The first file that later stages read and that is gone or has another size; `selectit verify` compares bytes.

    Args: without: files that may be gone.
    """
    for name, size in manifest["files"].items():
        file = path / name
        if not is_read_later(manifest["kind"], name):
            continue
        if not file.is_file():
            if name in without:
                continue
            return f"{name} is gone"
        if (found := file.stat().st_size) != size:
            return f"{name} has {found:,} bytes, {size:,} when it was written"
    return None


def check_writable(folder: Path) -> None:
    """Raises: UserError where a file cannot be made in the folder, which is created."""
    probe = folder / f".write-probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be written ({error.strerror}); name another, or change its permissions"
        ) from error
