"""A hub cache of models in the hub's own layout, as a machine without internet has one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path


class ModelCache:
    """Args: folder: what stands for `huggingface_hub.constants.HF_HUB_CACHE`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, hub_id: str, model: Path, *names: str) -> str:
        """Copy a model folder in as one commit, which the branches or tags `names` point at; returns the commit."""
        repository = self.folder / f"models--{hub_id.replace('/', '--')}"
        commit = hashlib.sha1(b"".join(path.read_bytes() for path in sorted(model.iterdir()))).hexdigest()
        snapshot = repository / "snapshots" / commit
        for folder in (snapshot, repository / "refs", repository / "blobs"):
            folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(model.iterdir()):
            blob = repository / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copyfile(path, blob)
            (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
        for name in names:
            (repository / "refs" / name).write_text(commit)
        return commit
