"""A subset as a data set of its own: a folder with its rows and a card, as the hub takes it.

Reads a finished selection; the card states what was selected from what, how, and the licence of the source. Nothing is
uploaded here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, try_to_load_from_cache

from selectit.config import PoolConfig
from selectit.data.other_tools import write_as
from selectit.errors import UserError
from selectit.store.artifact import Artifact, read_manifest
from selectit.store.names import ARTIFACTS_FOLDER, MESSAGES_FILE, SELECTION_FILE

CARD_FILE = "README.md"
TAG = "selectit"
DATA_STEM = "train"
SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))
"""As the hub names them, each with what it is below."""
UNKNOWN = "unknown: no card with a licence lies next to the source or in the hub's cache; look it up before sharing"


def selection_of(subset: Path, runs_dirs: Iterable[Path]) -> Artifact:
    """The finished selection of a folder, or the one that wrote a file.

    Args:   subset: a folder such as `runs/artifacts/select-...`, or a file in the pool's own format.
    Raises: UserError where there is none, several wrote the same file, or its files were changed.
    """
    if subset.is_dir() or read_manifest(subset.parent):
        return _whole(subset if subset.is_dir() else subset.parent)
    if not subset.is_file():
        raise UserError(f"{subset} does not exist; name a subset that `selectit select` wrote, or its selection")
    digest = _sha256(subset)
    folders = sorted(path for root in runs_dirs for path in (root / ARTIFACTS_FOLDER).glob("select-*"))
    found = [path for path in folders if digest in ((read_manifest(path) or {}).get("hashes") or {}).values()]
    if not found:
        searched = ", ".join(str(root) for root in runs_dirs)
        raise UserError(
            f"no selection in {searched} wrote {subset} as it is; name its folder (`selection:` in what `selectit "
            "select` prints), with --as for another format, or the runs folder with --runs-dir"
        )
    if len(found) > 1:
        raise UserError(f"several selections wrote {subset}: name one of {', '.join(map(str, found))}")
    return _whole(found[0])


def _whole(folder: Path) -> Artifact:
    manifest = read_manifest(folder)
    if manifest is None or manifest["kind"] != "select":
        raise UserError(f"{folder} holds no finished selection; name a folder such as runs/artifacts/select-...")
    artifact = Artifact(folder, manifest)
    for name in (SELECTION_FILE, MESSAGES_FILE, _record(artifact)["subset"]):
        if _sha256(folder / name) != manifest["hashes"][name]:
            raise UserError(f"{folder / name} was changed after it was written; select again")
    return artifact


def make_data_set(selection: Artifact, form: str | None, out: Path) -> None:
    """Write the rows (`train.jsonl` and so on) and their card into a new folder.

    Args:   form: messages, alpaca or sharegpt; None: the pool's own.
    Raises: UserError as `write_as` does, or where the folder is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"{out} is not empty; name another --out. A folder that `selectit publish` wrote, whose card you may have "
            f"edited, is uploaded as it stands: selectit publish {out} --push USER/NAME"
        )
    out.mkdir(parents=True, exist_ok=True)
    subset = selection.path / _record(selection)["subset"]
    data = out / (f"{DATA_STEM}{subset.suffix}" if form is None else f"{DATA_STEM}.jsonl")
    if form is None:
        shutil.copyfile(subset, data)
    else:
        pool = PoolConfig.model_validate(selection.manifest["config"]["pool"])
        write_as(subset, selection.path / MESSAGES_FILE, pool, form, data)
    (out / CARD_FILE).write_text(card(selection, form, data.name), encoding="utf-8")


def is_data_set(folder: Path) -> bool:
    """Whether `make_data_set` wrote it."""
    if not (folder / CARD_FILE).is_file() or not any(folder.glob(f"{DATA_STEM}.*")):
        return False
    return TAG in (_card_data(folder / CARD_FILE).get("tags") or [])


def card(selection: Artifact, form: str | None, data_file: str) -> str:
    """The card of a selection, with the metadata that the hub reads."""
    manifest, record = selection.manifest, _record(selection)
    pool, select = manifest["config"]["pool"], manifest["config"]["select"]
    path, chosen, of = pool["path"], record["num_selected"], record["num_rows"]
    is_hub = "hub" in _identity(manifest)
    licence, where = _licence(pool, _identity(manifest))
    left_out = ", ".join(f"{count} {kind}" for kind, count in record["failures"].items())
    facts = {
        "source": _source(pool, _identity(manifest)),
        "licence of the source": f"{licence} ({where})" if licence else UNKNOWN,
        "selected": f"{chosen} of {of} rows ({chosen / of:.1%}), strategy {record['strategy']}",
        "lowest selected score": f"{record['lowest_selected_score']:.6g}",
        **({"not selected for a reason": left_out} if left_out else {}),
        **_readers(selection),
        "format": "the source's own, with all its columns" if form is None else f"{form}, with the id of each row",
        "made with": f"selectit {version('selectit')}"
        + (f", commit {manifest['git_commit']}" if manifest["git_commit"] else ""),
    }
    settings = {
        "select": _without_folders(select),
        "pool": {name: value for name, value in _without_folders(pool).items() if value is not None},
        **({} if manifest["config"]["seed"] is None else {"seed": manifest["config"]["seed"]}),
    }
    metadata: dict[str, Any] = {
        "tags": ["sft", TAG],
        "task_categories": ["text-generation"],
        "size_categories": [next((name for name, below in SIZES if chosen < below), "n>10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": data_file}]}],
    }
    if licence:
        metadata["license"] = licence
    if is_hub:
        metadata["source_datasets"] = [path]
    name = path if is_hub else Path(path).name
    body = [
        f"# {chosen} of {of} rows of {name}, selected by selectit",
        "",
        "| | |",
        "|---|---|",
        *(f"| {fact} | {text} |" for fact, text in facts.items()),
        "",
        "Settings of the selection:",
        "",
        "```json",
        json.dumps(settings, indent=2, ensure_ascii=False),
        "```",
    ]
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n\n" + "\n".join(body) + "\n"


def _record(selection: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((selection.path / SELECTION_FILE).read_text(encoding="utf-8"))
    return found


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What names the pool's content: a sha256, or a hub data set and its commit."""
    found: dict[str, Any] = manifest["identity"]["config"]["pool"]["path"]
    return found


def _source(pool: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    if "hub" in identity:
        hub_id, parts = identity["hub"], [f", {key} {pool[key]}" for key in ("name", "split") if pool[key]]
        link = f"[{hub_id}](https://huggingface.co/datasets/{hub_id})"
        return f"{link}, commit {identity['revision']}{''.join(parts)}"
    return f"{Path(pool['path']).name}, sha256 {identity['sha256']}"


def _readers(selection: Artifact) -> dict[str, str]:
    """The models that rated the rows or took their losses, from the manifests of what was read."""
    models: dict[str, list[str]] = {"score": [], "losses": []}
    for folder in selection.manifest["inputs"].values():
        read = read_manifest(selection.path.parent / folder)
        if read is None or read["kind"] not in models:
            continue
        model = read["identity"]["config"]["model"]["path"]
        named = Path(read["config"]["model"]["path"]).name if "sha256" in model else model["hub"]
        at = f"sha256 {model['sha256']}" if "sha256" in model else f"commit {model['revision']}"
        models[read["kind"]].append(f"{named}, {at}")
    words = {"score": "rated with", "losses": "losses of"}
    return {words[kind]: "; ".join(dict.fromkeys(found)) for kind, found in models.items() if found}


def _licence(pool: Mapping[str, Any], identity: Mapping[str, Any]) -> tuple[str | None, str]:
    """The licence as the card of the source names it, and where that card is."""
    if "hub" in identity:
        cached = try_to_load_from_cache(identity["hub"], CARD_FILE, revision=identity["revision"], repo_type="dataset")
        path, where = Path(cached) if isinstance(cached, str) else None, "its card on the hub"
    else:
        place = Path(pool["path"])
        path, where = (place if place.is_dir() else place.parent) / CARD_FILE, "the card next to it"
    if path is None or not path.is_file():
        return None, ""
    found = _card_data(path).get("license")
    return (found, where) if isinstance(found, str) else (None, "")


def _card_data(path: Path) -> dict[str, Any]:
    card = DatasetCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
    found: dict[str, Any] = card.data.to_dict()
    return found


def _without_folders(value: Any) -> Any:
    """Paths of this machine by their last part."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    is_path = isinstance(value, str) and "/" in value and (value.startswith("/") or Path(value).exists())
    return Path(value).name if is_path else value


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
