"""The shape of a model, read from its configuration without loading it."""

from __future__ import annotations

import json
from pathlib import Path

from selectit.config import (
    ModelConfig,
)
from selectit.errors import UserError
from selectit.inference import flops
from selectit.inference.flops import Shape


def shape_of(model: ModelConfig) -> Shape:
    """Raises: UserError where the model's config.json is neither here nor in the hub's cache, or is not understood."""
    path = model_file(model, "config.json")
    if path is None:
        raise UserError(f"the config.json of {model.path} is neither in a folder here nor in the hub's cache")
    return flops.shape_from_config(json.loads(path.read_text(encoding="utf-8")), model.path)


def bytes_per_parameter(model: ModelConfig, on_gpu: bool) -> int:
    return 4 if model.dtype == "float32" or (model.dtype == "auto" and not on_gpu) else 2


def model_file(model: ModelConfig, name: str) -> Path | None:
    """A file of a checkpoint folder, or of a hub model that is in the cache."""
    folder = Path(model.path)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.path, name, revision=model.revision)
    return Path(found) if isinstance(found, str) else None
