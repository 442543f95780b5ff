"""Artifact folders: where a stage writes, when it counts as done, and who may work on it.

`<runs>/artifacts/<kind>-<fingerprint>/manifest.json` is renamed into place last. A folder without it is
unfinished and is continued; a folder in which files that later stages read are gone or changed in size is run again.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout

from selectit.data.jsonl import iter_jsonl
from selectit.data.whole_files import PART, write_whole
from selectit.errors import UserError
from selectit.store.fingerprint import Hasher, at, digest, leaves
from selectit.store.kinds import KINDS
from selectit.store.names import (
    ADAPTER_CONFIG,
    ARTIFACTS_FOLDER,
    ERROR,
    HASHES_FILE,
    MANIFEST,
    STAGE_FILE,
    VERIFICATION,
)

LOCK = ".lock"
LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "lm_eval",
    "wandb",
    "deepspeed",
    "bitsandbytes",
    "selectit",
)


@dataclass(frozen=True)
class Artifact:
    """A finished folder and its manifest."""

    path: Path
    manifest: dict[str, Any]

    @property
    def content(self) -> str:
        """Hash of what later stages read; equal content means equal later work."""
        return self.manifest["content"]


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


def is_read_later(kind: str, name: str) -> bool:
    """Whether a file of an artifact is an output of its kind or, in a folder of weights, one that is loaded.

    Model cards, logs and what somebody put there are not.
    """
    if kind not in KINDS:
        return True
    if PurePath(name).parent != PurePath(".") and PurePath(name).suffix not in WEIGHT_SUFFIXES:
        return False
    patterns = (*(f"{output}/*" for output in KINDS[kind].outputs), *KINDS[kind].outputs, *KINDS[kind].read)
    return any(fnmatch(name, pattern) for pattern in patterns)


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


def read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def finish(path: Path, manifest: dict[str, Any], outputs: tuple[str, ...], content: tuple[str, ...]) -> Artifact:
    """Check that what must be there parses, then put the manifest in place.

    Args:
        outputs: files and folders that must exist, relative to `path`.
        content: those of them that later stages read; their bytes become `content`.
    Raises: RuntimeError naming the file that is missing or does not parse (a fault of the stage).
    """
    for name in outputs:
        if not (path / name).exists():
            raise RuntimeError(f"{path / name} was not written by its stage")
    files = {name: (path / name).stat().st_size for name in listed_files(path)}
    for name in files:
        _check_parses(path / name)
    hasher = Hasher()  # one for both, so that weights are read once
    hashes = {name: hasher.file(path / name) for name in files}
    manifest = {**manifest, "content": content_hash(path, content, hasher), "files": files, "hashes": hashes}
    digest(manifest["identity"])  # refuses values without a stable form
    write_whole(path / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", durable=True)
    return Artifact(path, manifest)


def listed_files(path: Path) -> list[str]:
    """The files of an artifact folder that its manifest lists, relative to it; no half of a file that a kill left."""
    return [
        str(p.relative_to(path))
        for p in sorted(path.rglob("*"))
        if p.is_file()
        and p.name not in (MANIFEST, ERROR, VERIFICATION)
        and p.suffix != PART
        and not is_hidden(p.relative_to(path))
    ]


def is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


WEIGHT_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".jinja")
PATH_KEYS = ("base_model_name_or_path", "_name_or_path", "name_or_path")
"""Keys under which checkpoints note where they lay; the same weights elsewhere are the same weights."""


def content_hash(path: Path, names: tuple[str, ...], hasher: Hasher) -> str:
    """Hash of the files and folders `names`, relative to `path`: the `content` of a manifest."""
    hashes = {}
    for name in names:
        for file in [path / name] if (path / name).is_file() else loaded_files(path / name):
            key = str(file.relative_to(path))
            hashes[key] = _without_paths(file) if file.name in (ADAPTER_CONFIG, "config.json") else hasher.file(file)
    return digest(hashes)


def loaded_files(folder: Path) -> list[Path]:
    """What decides a model's output: weights, configuration and tokenizer, and no card or log."""
    return [p for p in sorted(folder.rglob("*")) if p.suffix in WEIGHT_SUFFIXES]


def _without_paths(file: Path) -> str:
    content = json.loads(file.read_text(encoding="utf-8"))
    # PEFT writes this set as a list, in another order in every process
    stable = {key: value for key, value in content.items() if key not in PATH_KEYS}
    if isinstance(modules := content.get("target_modules"), list):
        stable["target_modules"] = sorted(modules)
    return digest(stable)


def _check_parses(path: Path) -> None:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".jsonl":
            for _ in iter_jsonl(path):
                pass
        elif path.suffix == ".parquet":
            import pyarrow.parquet as parquet

            parquet.read_metadata(path)
        elif path.suffix == ".safetensors":
            with path.open("rb") as f:
                json.loads(f.read(int.from_bytes(f.read(8), "little")))
    except Exception as error:
        raise RuntimeError(f"{path} does not parse ({error}); its stage did not finish writing it") from error


@cache
def provenance() -> dict[str, Any]:
    """Git commit and dirty flag of this project, and library versions; never the environment."""
    root = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    libraries: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    status = git("status", "--porcelain")
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "libraries": libraries,
    }
