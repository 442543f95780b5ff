"""What a stage's result depends on, as canonical JSON, and its hash.

A configuration becomes its identity: execution fields are left out, and a `Location` is replaced by the
content it names (a sha256, or a hub id with its commit). A field that is not in `FIRST_FIELDS` is left out where it
stands at its default. A value without a stable form is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic.fields import FieldInfo

from selectit.config import (
    Config,
    LocationMark,
    ModelConfig,
    PoolConfig,
    is_execution,
    location_mark,
)
from selectit.config.inputs import is_local, root_of_pattern
from selectit.config.schema import Contents
from selectit.data.fetch import ensure
from selectit.data.hashes import Hasher, canonical_json, digest
from selectit.errors import UserError
from selectit.store.first_fields import FIRST_FIELDS, LATER_DEFAULTS

T = TypeVar("T", bound=Config)
COMMIT = re.compile(r"[0-9a-f]{40}")
PLUGIN = "plugin"
"""Key of an identity: content of the plugin whose code a part is. No field has this name."""


def identity(config: Config, hasher: Hasher) -> dict[str, Any]:
    """The fields that decide what comes out, nested models included; without later fields at their defaults.

    Raises: UserError where a location can neither be found here nor resolved to a hub commit.
    """
    fields = {}
    for name in identity_fields(type(config)):
        value, mark = getattr(config, name), location_mark(type(config).model_fields[name])
        if mark is not None and isinstance(value, str) and value not in mark.keywords:
            fields[name] = _location_identity(config, name, mark, hasher)
        elif (named := config.hub_dataset(name)) is not None:
            fields[name] = {"hub": named[0], "revision": _commit(config, *named)}
        elif (contents := config.contents(name)) is not None:
            files = {label: hasher.file(path) for label, path in contents.files.items()}
            fields[name] = {**contents.value, "files": digest(files), "datasets": _commits(contents)}
        else:
            fields[name] = _field_identity(value, hasher)
        if _is_left_out(type(config), name, fields[name]):
            del fields[name]
    if (plugin := config.plugin()) is not None:
        fields[PLUGIN] = plugin
    return fields


def identity_fields(schema: type[Config]) -> list[str]:
    """Those that decide what comes out; a revision is part of its location's identity."""
    return [name for name, info in schema.model_fields.items() if not is_execution(info) and name != "revision"]


@cache
def later_fields(schema: type[Config]) -> tuple[str, ...]:
    """Identity fields that are left out of an identity where they stand at their defaults."""
    first = FIRST_FIELDS.get(schema.__name__) or schema.first_fields()
    return tuple(n for n in identity_fields(schema) if n not in first and not schema.model_fields[n].is_required())


def later_default(schema: type[Config], name: str) -> Any:
    """What an identity without this later field means: its default when it was added."""
    recorded = LATER_DEFAULTS.get(schema.__name__) or getattr(schema, "later_defaults", {})
    if name in recorded:
        return recorded[name]
    return _field_identity(schema.model_fields[name].get_default(call_default_factory=True), Hasher())


def _is_left_out(schema: type[Config], name: str, value: Any) -> bool:
    if name not in later_fields(schema) or _names_content(value):  # content changes where a default stays
        return False
    return canonical_json(value) == canonical_json(later_default(schema, name))


def _names_content(value: Any) -> bool:
    if isinstance(value, Mapping):
        return set(value) in ({"sha256"}, {"hub", "revision"}) or any(map(_names_content, value.values()))
    return isinstance(value, list | tuple) and any(map(_names_content, value))


Forms = Callable[[FieldInfo], Sequence[type[Config]]]
"""The classes that a field may hold."""


def with_later_defaults(fields: Mapping[str, Any], schema: type[Config], forms: Forms) -> dict[str, Any]:
    """An identity of this class, for people to read, with the later fields that it leaves out."""
    filled = {**{name: later_default(schema, name) for name in later_fields(schema)}, **fields}
    for name, value in filled.items():
        if isinstance(value, Mapping) and name in schema.model_fields:
            nested = next((one for one in forms(schema.model_fields[name]) if _is_of(one, value)), None)
            filled[name] = value if nested is None else with_later_defaults(value, nested, forms)
    return filled


def _is_of(schema: type[Config], fields: Mapping[str, Any]) -> bool:
    """True where an identity can be one of this class, of those that one field may hold."""
    required = [name for name in identity_fields(schema) if schema.model_fields[name].is_required()]
    words = {n: get_args(a) for n in required if get_origin(a := schema.model_fields[n].annotation) is Literal}
    return (
        set(fields) - {PLUGIN} <= set(schema.model_fields)
        and set(required) <= set(fields)
        and all(fields[name] in allowed for name, allowed in words.items())
    )


def _field_identity(value: Any, hasher: Hasher) -> Any:
    if isinstance(value, Config):
        return identity(value, hasher)
    if isinstance(value, tuple):
        return [_field_identity(item, hasher) for item in value]
    return value


def _location_identity(config: Config, field: str, mark: LocationMark, hasher: Hasher) -> Any:
    location = mark.strip(getattr(config, field))
    ensure(location)
    path = Path(location)
    files = config.location_files(field)
    if files is not None:
        if not files and not path.exists():
            raise UserError(f"{location} names no file; a pattern such as pool/*.jsonl names at least one")
        return {"sha256": hasher.files(files, path if path.exists() else root_of_pattern(location))}
    if path.is_file():
        return {"sha256": hasher.file(path)}
    if mark.is_file:
        raise UserError(f"{location} does not exist or is not a file; {field} names a file here")
    if path.is_dir():
        return {"sha256": hasher.dataset(path) if _is_dataset(config) else hasher.checkpoint(path)}
    return {"hub": location, "revision": resolve_revision(location, *_revision_and_type(config))}


def _commit(config: Config, dataset: str, holder: str) -> str:
    """Args: holder: the field whose `revision` is the data set's."""
    try:
        return resolve_revision(dataset, getattr(config, holder).revision, "dataset")
    except UserError as error:
        raise UserError(
            f"{error} For a machine without internet, fetch the benchmark's files (selectit data fetch) and name their "
            "folder in evaluate.data."
        ) from error


def _commits(contents: Contents) -> dict[str, str]:
    try:
        return {name: resolve_revision(name, revision, "dataset") for name, revision in contents.datasets}
    except UserError as error:
        raise UserError(f"{error} {contents.cure}") from error


def _is_dataset(config: Config) -> bool:
    return "split" in type(config).model_fields


def _revision_and_type(config: Config) -> tuple[str | None, str]:
    return getattr(config, "revision", None), "dataset" if _is_dataset(config) else "model"


def pinned(config: T) -> T:
    """The configuration with every hub revision as the commit that its identity names.

    A stage loads this one: a branch may have moved on since it was resolved.
    """
    changes: dict[str, Any] = {
        name: pinned(value) for name in type(config).model_fields if isinstance(value := getattr(config, name), Config)
    }
    for name in type(config).model_fields:
        if name in changes:
            continue
        if name == "revision" and isinstance(config, ModelConfig | PoolConfig) and not is_local(config.path):
            changes[name] = resolve_revision(config.path, *_revision_and_type(config))
        elif (named := config.hub_dataset(name)) is not None:
            _, holder = named  # whose own field may come before this one or after it
            changes[holder] = changes[holder].model_copy(update={"revision": _commit(config, *named)})
        elif (contents := config.contents(name)) is not None:
            changes["commits"] = tuple(_commits(contents).items())
    return config.model_copy(update=changes)


def resolve_revision(repo_id: str, revision: str | None, repo_type: str) -> str:
    """The commit that a branch or tag of a hub repository names: from the local cache, else from the hub.

    Raises: UserError where neither knows it.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import constants

    ref = Path(constants.HF_HUB_CACHE) / f"{repo_type}s--{repo_id.replace('/', '--')}" / "refs" / (revision or "main")
    if ref.is_file():
        return ref.read_text().strip()
    commit, error = _ask_hub(repo_id, revision, repo_type)
    if error is not None:
        raise UserError(
            f"{repo_type} '{repo_id}': no such file or folder here, not in the hub cache ({constants.HF_HUB_CACHE}), "
            f"and the hub did not answer for it ({str(error).splitlines()[0]}). Check the spelling, download it first, "
            "or set HF_TOKEN for a gated repository."
        ) from error
    return commit


@cache  # once for all stages of a plan: of one commit, whatever becomes of the branch; and one wait where none answers
def _ask_hub(repo_id: str, revision: str | None, repo_type: str) -> tuple[str, Exception | None]:
    """The commit, or why the hub did not give it."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().repo_info(repo_id, revision=revision, repo_type=repo_type, timeout=10).sha), None
    except Exception as error:
        return "", error


def leaves(value: Any, prefix: str = "") -> frozenset[tuple[str, str]]:
    """(dotted key, canonical JSON) of each leaf; what two of these do not share is what two identities differ in."""
    if isinstance(value, Mapping):
        return frozenset(leaf for k, v in value.items() for leaf in leaves(v, f"{prefix}.{k}" if prefix else k))
    return frozenset({(prefix, canonical_json(value))})


def at(identity: Mapping[str, Any], key: str) -> Any:
    """The part of an identity that a dotted key names; None where it is left out."""
    value: Any = identity
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, old, new) for each leaf that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{prefix}.{k}" if prefix else k)]
    return [] if canonical_json(old) == canonical_json(new) else [(prefix, old, new)]
