"""Uploads a folder of weights to the hub, only when it is asked to.

What is uploaded names its base by hub id: a path of this machine is replaced, or the upload refused.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from selectit.errors import UserError
from selectit.finetune.card import CARD_FILE, read_card
from selectit.store.artifact import PATH_KEYS
from selectit.store.hub import check_hub, upload
from selectit.store.trained_on import read_record

WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")
TEXTS = (".json", ".md", ".jinja", ".txt")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots/")
"""Of a path in the hub's cache."""


def files_of(folder: Path) -> list[Path]:
    """What an upload would take.

    Raises: UserError where weights or their card are absent.
    """
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise UserError(
            f"{folder} holds no weights ({', '.join(WEIGHTS)}); name an adapter/ or model/ folder, or a merge"
        )
    read_card(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def without_local_paths(folder: Path, base: str | None = None) -> dict[str, str]:
    """The texts that are uploaded in place of those in the folder, by file name.

    Args:   base: hub id of the base, given by the user.
    Raises: UserError where a file names a path of this machine whose hub id is not known.
    """
    if base is not None and not HUB_ID.fullmatch(base):
        raise UserError(f"--base {base} is not a hub id; write it as OWNER/NAME")
    texts = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in files_of(folder)
        if path.suffix in TEXTS
    }
    paths = {value: name for name, text in texts.items() if name.endswith(".json") for value in _local_paths(text)}
    changed: dict[str, str] = {}
    for path, named_in in paths.items():
        hub_id = base or _hub_id_of(folder, path)
        if hub_id is None:
            raise UserError(
                f"{folder / named_in} names the base by its path on this machine ({path}), which nobody else can load; "
                "name its hub id with --base OWNER/NAME"
            )
        for name, text in texts.items():
            if path in text:
                changed[name] = changed.get(name, text).replace(path, hub_id)
        changed[CARD_FILE] = _with_base(changed.get(CARD_FILE, texts[CARD_FILE]), hub_id)
    return changed


def _local_paths(text: str) -> list[str]:
    content = json.loads(text)
    values = [content.get(key) for key in PATH_KEYS] if isinstance(content, dict) else []
    return [v for v in values if isinstance(v, str) and v and (Path(v).exists() or not HUB_ID.fullmatch(v))]


def _hub_id_of(folder: Path, path: str) -> str | None:
    record = read_record(str(folder))
    if record is not None and record.base.hub_id is not None:
        return record.base.hub_id
    cached = CACHED.search(path)
    return f"{cached[1]}/{cached[2]}" if cached else None


def _with_base(card: str, hub_id: str) -> str:
    """The card with the base in its metadata, from which the hub draws the tree of models."""
    if not card.startswith("---\n"):
        return card
    metadata, _, body = card.removeprefix("---\n").partition("\n---\n")
    found: dict[str, Any] = {"base_model": hub_id, **(yaml.safe_load(metadata) or {})}
    return f"---\n{yaml.safe_dump(found)}---\n{body}"


def push(folder: Path, repository: str, private: bool, base: str | None = None) -> str:
    """Args:    base: as `without_local_paths` takes it.
    Returns: the address.
    Raises:  UserError offline, without a token, where a path of this machine would be uploaded, or where the hub
        refuses.
    """
    changed = without_local_paths(folder, base)
    check_hub()
    with tempfile.TemporaryDirectory(prefix="selectit-publish-") as name:
        for path in files_of(folder):
            part = Path(name) / path.relative_to(folder)
            part.parent.mkdir(parents=True, exist_ok=True)
            if (text := changed.get(str(path.relative_to(folder)))) is None:
                part.symlink_to(path.resolve())
            else:
                part.write_text(text, encoding="utf-8")
        return upload(Path(name), repository, private, "model", folder)
