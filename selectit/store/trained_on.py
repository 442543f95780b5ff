"""What a training leaves next to its weights: which base it was trained on, in which form, and what ends a turn.

Reads and writes trained_on.json in the folder of an adapter or a model. Merging, evaluating and publishing an adapter
read it, and refuse a base with other weights than the training's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers.utils import cached_file
from transformers.utils.hub import get_checkpoint_shard_files

from selectit.config import Config, ModelConfig
from selectit.data.hashes import user_hasher
from selectit.errors import UserError
from selectit.store.fingerprint import digest, resolve_revision
from selectit.store.names import ADAPTER_CONFIG, TRAINED_ON_FILE
from selectit.templates import template_name
from selectit.templates.form import Form

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""As transformers looks for them, in this order."""
NOT_OF_THE_MODEL = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
"""Keys of config.json that change no logit."""


class Base(Config):
    """A base model by its content."""

    hub_id: str | None
    """None: a folder."""
    revision: str | None
    """The commit of a hub model."""
    weights_sha256: str
    """Of the names and sha256 of the files that transformers loads."""
    config_sha256: str
    """Of config.json, without the keys that change no logit."""


class TrainedForm(Config):
    """The prompt form of a training."""

    template: str
    """alpaca, llmzoo, chat or the name of a .jinja file; its text is the saved chat_template.jinja."""
    template_sha256: str
    date: str | None
    """What the template prints for today, where it prints a date."""
    end_of_turn: str
    """The token that ends an assistant turn."""
    end_of_turn_id: int


class TrainedOn(Config):
    """The record of a training that travels with its weights."""

    base: Base
    form: TrainedForm


def identify_base(model: ModelConfig) -> Base:
    """Raises: UserError where the model's files are neither here nor on the hub."""
    config = _file(model, "config.json")
    files = weight_files(model)
    if config is None or not files:
        raise UserError(
            f"{_named(model)} holds no {'config.json' if config is None else 'weights'} that can be read; name a "
            "folder of a Hugging Face checkpoint, or a hub id that you may read"
        )
    settings = json.loads(config.read_text(encoding="utf-8"))
    is_here = Path(model.path).exists()
    return Base(
        hub_id=None if is_here else model.path,
        revision=None if is_here else resolve_revision(model.path, model.revision, "model"),
        weights_sha256=digest({path.name: user_hasher().file(path) for path in files}),
        config_sha256=digest({key: value for key, value in settings.items() if key not in NOT_OF_THE_MODEL}),
    )


def weight_files(model: ModelConfig) -> list[Path]:
    """The files that transformers loads, fetched where they are not here; an empty list where there are none."""
    for name in WEIGHTS:
        if (found := _file(model, name)) is None:
            continue
        if not name.endswith(".index.json"):
            return [found]
        shards, _ = get_checkpoint_shard_files(model.path, str(found), revision=model.revision)
        return [Path(shard) for shard in shards]
    return []


def _file(model: ModelConfig, name: str) -> Path | None:
    """None where the folder or repository has no such file, or it is neither in the cache nor to be had."""
    try:
        found = cached_file(
            model.path,
            name,
            revision=model.revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{_named(model)} cannot be read: {str(error).splitlines()[0]}") from error
    return None if found is None else Path(found)


def _named(model: ModelConfig) -> str:
    return model.path + (f" at revision {model.revision}" if model.revision else "")


def trained_on(base: Base, form: Form) -> TrainedOn:
    return TrainedOn(
        base=base,
        form=TrainedForm(
            template=template_name(form.name),
            template_sha256=hashlib.sha256(form.text.encode()).hexdigest(),
            date=form.date,
            end_of_turn=form.end_token,
            end_of_turn_id=form.end_id,
        ),
    )


def write_record(folder: Path, record: TrainedOn) -> None:
    (folder / TRAINED_ON_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(weights: str) -> TrainedOn | None:
    """Args:   weights: folder or hub id of an adapter or a model.
    Returns: None where it was not trained by this project.
    Raises:  UserError where the record is damaged.
    """
    path = _adapter_file(weights, TRAINED_ON_FILE)
    if path is None:
        return None
    try:
        return TrainedOn.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError(
            f"{path} is not the record of a training: {error}; copy the folder again, or run its training again"
        ) from error


def _adapter_file(weights: str, name: str) -> Path | None:
    if Path(weights).exists():
        return path if (path := Path(weights) / name).is_file() else None
    return _file(ModelConfig(path=weights), name)


def base_of(adapter: str, path: str | None = None, revision: str | None = None, dtype: str = "auto") -> ModelConfig:
    """The base that an adapter belongs on.

    Args:   adapter: folder or hub id; path, revision: given by the user, and win over what the adapter names.
    Raises: UserError where neither the user nor the adapter names a base.
    """
    file = _adapter_file(adapter, ADAPTER_CONFIG)
    named: dict[str, Any] = {} if file is None else json.loads(file.read_text(encoding="utf-8"))
    of_adapter = named.get("base_model_name_or_path")
    chosen = path or of_adapter
    if not chosen:
        raise UserError(f"{adapter}: its {ADAPTER_CONFIG} names no base model; name it with --model")
    if revision is None and not Path(chosen).exists():
        record = read_record(adapter)
        if record is not None and record.base.hub_id == chosen:
            revision = record.base.revision
        elif of_adapter == chosen:
            revision = named.get("revision")
    return ModelConfig.model_validate({"path": chosen, "revision": revision, "dtype": dtype})


def check_base(adapter: str, model: ModelConfig) -> None:
    """Raises: UserError with both hashes where the model is not the base that the adapter was trained on.

    An adapter that was not trained by this project has no record, and nothing to test against.
    """
    record = read_record(adapter)
    if record is None:
        return
    trained, found = record.base, identify_base(model)
    for what in ("weights", "config"):
        then, now = getattr(trained, f"{what}_sha256"), getattr(found, f"{what}_sha256")
        if then == now:
            continue
        origin = "" if trained.hub_id is None else f" ({trained.hub_id} at revision {trained.revision})"
        raise UserError(
            f"the adapter {adapter} was trained on another base than {_named(model)}: sha256 of its {what} was "
            f"{then}{origin} and is {now} here. Name the base of the training with --model and --revision; a folder "
            "that was overwritten since must be restored, or the training run again."
        )
