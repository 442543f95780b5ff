"""A finished artifact: the files that a stage wrote, the hash of what later stages read, and the manifest.

`<runs>/artifacts/<kind>-<fingerprint>/manifest.json` is renamed into place last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any

from selectit.data.jsonl import iter_jsonl
from selectit.data.whole_files import PART, write_whole
from selectit.store.fingerprint import Hasher, digest
from selectit.store.kinds import KINDS
from selectit.store.names import ADAPTER_CONFIG, ERROR, MANIFEST, VERIFICATION

WEIGHT_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".jinja")
PATH_KEYS = ("base_model_name_or_path", "_name_or_path", "name_or_path")
"""Keys under which checkpoints note where they lay; the same weights elsewhere are the same weights."""


@dataclass(frozen=True)
class Artifact:
    """A finished folder and its manifest."""

    path: Path
    manifest: dict[str, Any]

    @property
    def content(self) -> str:
        """Hash of what later stages read; equal content means equal later work."""
        return self.manifest["content"]


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
