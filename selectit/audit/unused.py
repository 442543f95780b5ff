"""`selectit gc`: artifact folders that no given recipe needs, and checkpoints that a finished training left.

Reads recipes and manifests; removes folders in `free` only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from selectit.audit.trace import is_results, open_results, with_inputs
from selectit.data.kept import kept_folder, kept_tables, table_key
from selectit.errors import UserError
from selectit.plan.graph import Plan
from selectit.plan.status import inspect
from selectit.store.artifact import read_manifest
from selectit.store.fingerprint import canonical_json, identity
from selectit.store.kinds import KINDS
from selectit.store.names import CHECKPOINTS_FOLDER, MANIFEST, STAGE_FILE
from selectit.store.runs_folder import LOCK, Store

DOOMED = ".freed-"
"""Prefix of a folder that is being removed: it left its place in one step, so none is ever half there."""


@dataclass(frozen=True)
class Unused:
    path: Path
    what: str
    """Kind of the stage, with `unfinished` where it is; or `checkpoints`."""
    num_bytes: int
    last_used: float
    """Seconds since the epoch: when it was finished or last written."""


def find_unused(plans: Sequence[Plan], store: Store) -> tuple[list[Unused], dict[str, set[str]]]:
    """What neither the recipes of `plans` nor a report needs, largest first.

    Returns: it, and for each report the folders that are kept for it alone.
    Raises: UserError where what they need is not known, or a run is at work on something else.
    """
    needed = _needed(plans, store)
    behind = {name: folders - needed for name, folders in _behind_reports(store).items() if folders - needed}
    kept = needed.union(*behind.values())
    folders = [p for p in sorted(store.root.glob("*")) if p.is_dir() and (_is_stage_folder(p) or _is_doomed(p))]
    if busy := [path.name for path in folders if path.name not in kept and _is_locked(path)]:
        raise UserError(
            f"a run is at work in {', '.join(busy)}, which no given recipe needs: wait for it, or name its recipe too"
        )
    unused = []
    for path in folders:
        if path.name not in kept:
            unused.append(_describe(path))
        elif (left := _left_checkpoints(path)) is not None and not _is_locked(path):
            unused.append(Unused(left, "checkpoints of a finished training", *_size_and_time(left)))
    return sorted(unused, key=lambda one: -one.num_bytes), behind


def find_unread_pools(plans: Sequence[Plan]) -> list[Unused]:
    """What is kept of parsed pools that no stage of the plans reads, largest first."""
    read = {table_key(stage.config.pool) for plan in plans for stage in plan.stages if hasattr(stage.config, "pool")}
    tables = [path for path, key in kept_tables().items() if key not in read]
    found = [(path, path.stat()) for path in tables]
    unread = [Unused(path, "parsed pool", s.st_size, max(s.st_mtime, s.st_atime)) for path, s in found]
    return sorted(unread, key=lambda one: -one.num_bytes)


def free(unused: Iterable[Unused]) -> int:
    """Remove them. Returns: bytes that were freed."""
    num_bytes = 0
    for one in unused:
        if one.path.parent == kept_folder():
            one.path.unlink(missing_ok=True)
            num_bytes += one.num_bytes
            continue
        folder = one.path.parent if one.path.name == CHECKPOINTS_FOLDER else one.path
        try:
            with FileLock(folder / LOCK, timeout=0):
                doomed = one.path if _is_doomed(one.path) else one.path.with_name(f"{DOOMED}{one.path.name}")
                os.replace(one.path, doomed)
        except Timeout:  # taken since it was looked at
            continue
        shutil.rmtree(doomed)
        num_bytes += one.num_bytes
    return num_bytes


def _needed(plans: Sequence[Plan], store: Store) -> set[str]:
    """Names of the folders of every stage of the plans, of what those were made from, and of what may be theirs."""
    kept: set[str] = set()
    unknown: set[str] = set()
    for plan in plans:
        for stage, now in inspect(plan, store).items():
            if now.status == "blocked":
                raise UserError(f"nothing is freed: what {plan.title(stage)} needs is not known ({now.why})")
            if now.fingerprint is not None:
                kept.add(store.folder(stage.kind, now.fingerprint).name)
                continue
            # what it reads is not finished, so its fingerprint is not known: keep all that could be its own
            settings = {"kind": stage.kind, "version": KINDS[stage.kind].version}
            unknown.add(canonical_json({**settings, "config": identity(stage.config, store.hasher)}))
    kept.update(with_inputs(store.root, kept))
    for path in store.root.glob("*"):
        manifest = read_manifest(path)
        if manifest is not None:
            hashed = {key: manifest["identity"][key] for key in ("kind", "version", "config")}
            if canonical_json(hashed) in unknown:
                kept.add(path.name)
        elif any(f'"kind":"{_kind(path)}"' in settings for settings in unknown):
            kept.add(path.name)
    return kept


def _kind(path: Path) -> str:
    return path.name.rpartition("-")[0]


def _is_stage_folder(path: Path) -> bool:
    """Whether a stage was begun or finished there: another folder is somebody's own and is left alone."""
    is_named = _kind(path) in KINDS and not path.name.startswith(".")
    return is_named and any((path / name).exists() for name in (STAGE_FILE, MANIFEST, LOCK))


def _is_doomed(path: Path) -> bool:
    return path.name.startswith(DOOMED)


def _is_locked(path: Path) -> bool:
    if not (path / LOCK).exists():
        return False
    try:
        with FileLock(path / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def _behind_reports(store: Store) -> dict[str, set[str]]:
    """Report -> the artifact folders that there are of those its numbers came out of."""
    behind: dict[str, set[str]] = {}
    for folder in sorted(store.runs_dir.glob("*")):
        if folder.is_dir() and folder != store.root and is_results(folder):
            names = with_inputs(store.root, open_results(folder).names)
            behind[folder.name] = {name for name in names if (store.root / name).is_dir()}
    return behind


def _describe(path: Path) -> Unused:
    manifest, (num_bytes, time) = read_manifest(path), _size_and_time(path)
    what = _kind(path)
    if _is_doomed(path):
        what = "half removed"
    elif manifest is None:
        what += ", unfinished"
    else:
        time = datetime.fromisoformat(manifest["finished"]).timestamp()
    return Unused(path, what, num_bytes, time)


def _left_checkpoints(path: Path) -> Path | None:
    """Checkpoints next to finished weights that the manifest does not count as part of the artifact."""
    manifest, folder = read_manifest(path), path / CHECKPOINTS_FOLDER
    if (
        manifest is None
        or not folder.is_dir()
        or any(name.startswith(f"{CHECKPOINTS_FOLDER}/") for name in manifest["files"])
    ):
        return None
    return folder


def _size_and_time(folder: Path) -> tuple[int, float]:
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(s.st_size for s in stats), max((s.st_mtime for s in stats), default=folder.stat().st_mtime)
