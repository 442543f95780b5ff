"""Paths in a recipe: made absolute where they are read from a file, mapped to others, and looked for.

Reads the file system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from selectit.config import ArmConfig, Config, LocationMark, PoolConfig, RecipeConfig, SelectFields, location_mark
from selectit.data.fetch import NAMES, PREFIX, name_of, path_of
from selectit.errors import did_you_mean
from selectit.inference.checkpoint import missing_files
from selectit.selection.registry import Strategies

if TYPE_CHECKING:
    from selectit.recipe.rows import ArmPoint

FILE_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".txt", ".yaml")
"""A path that ends in one of these is no hub id."""
Change = Callable[[str, LocationMark, type[BaseModel], str], str]
"""From a location, its mark, and the schema and field that hold it, to another location."""


def map_locations(raw: Any, schema: type[BaseModel], strategies: Strategies, change: Change) -> Any:
    """What is written of a schema, with every location changed; faults are left as they are."""
    if not isinstance(raw, dict):
        return raw
    changed = dict(raw)
    for key, value in raw.items():
        if schema is RecipeConfig and key == "arms" and isinstance(value, dict):
            changed[key] = {
                arm: map_locations(sections, ArmConfig, strategies, change) for arm, sections in value.items()
            }
        elif schema is RecipeConfig and key == "grid" and isinstance(value, dict):
            changed[key] = {dotted: _map_at(dotted, values, strategies, change) for dotted, values in value.items()}
        elif isinstance(key, str) and key in schema.model_fields:
            changed[key] = _map_field(value, schema, key, strategies, change)
        elif "select" in schema.model_fields and (named := _named(raw, strategies)) and key in named.model_fields:
            changed[key] = _map_field(value, named, key, strategies, change)  # a part of a mix
    return changed


def _map_field(value: Any, schema: type[BaseModel], key: str, strategies: Strategies, change: Change) -> Any:
    info = schema.model_fields[key]
    mark = location_mark(info)
    if mark is not None and isinstance(value, str):
        return change(value, mark, schema, key)
    if mark is not None and isinstance(value, list):
        return [change(v, mark, schema, key) if isinstance(v, str) else v for v in value]
    own = _form(value, strategies.forms(info), strategies)
    if own is None:
        return value
    many = isinstance(value, list)
    return (
        [map_locations(v, own, strategies, change) for v in value]
        if many
        else map_locations(value, own, strategies, change)
    )


def _form(value: Any, forms: Sequence[type[Config]], strategies: Strategies) -> type[Config] | None:
    """Of a section with several forms, the named strategy's, else the one that has most of the keys that are given."""
    keys = set(value) if isinstance(value, dict) else set()
    named = _named(value, strategies)
    if named in forms:
        return named
    return max(forms, key=lambda form: len(form.model_fields.keys() & keys), default=None)


def _named(section: Any, strategies: Strategies) -> type[Config] | None:
    """The strategy that a section names."""
    name = section.get("strategy") if isinstance(section, dict) else None
    return strategies.get(name) if isinstance(name, str) else None


def _map_at(dotted: Any, values: Any, strategies: Strategies, change: Change) -> Any:
    """The values of a grid key, as values of the field that it names."""
    schema: type[BaseModel] = ArmConfig
    *sections, field = str(dotted).split(".")
    for section in sections:
        forms = strategies.forms(schema.model_fields[section]) if section in schema.model_fields else []
        if not forms:
            return values
        schema = next((form for form in forms if field in form.model_fields), forms[0])
    if not isinstance(values, list) or field not in schema.model_fields:
        return values
    return [_map_field(value, schema, field, strategies, change) for value in values]


def absolute(raw: Any, schema: type[BaseModel], strategies: Strategies, folder: Path) -> Any:
    """Paths of one file made absolute where they exist next to it; hub ids and faults are left as they are."""
    return map_locations(raw, schema, strategies, lambda value, mark, *_: absolute_location(value, mark, folder))


def absolute_location(value: str, mark: LocationMark, folder: Path) -> str:
    if value.startswith(PREFIX) and value.removeprefix(PREFIX) in NAMES:
        return str(path_of(value.removeprefix(PREFIX)))
    location = mark.strip(value)
    target = folder / Path(location).expanduser()
    is_path = mark.is_file or target.exists() or has_magic(location) or location.startswith(("./", "../", "~", "/"))
    if value in mark.keywords or not is_path:
        return value
    return f"{value[: len(value) - len(location)]}{target.resolve()}"


def check_locations(rows: Sequence[ArmPoint], faults: list[str]) -> None:
    """Paths that can only be paths and are not there. Hub ids are resolved when the recipe runs."""

    def walk(config: Config, prefix: str) -> None:
        for name, info in type(config).model_fields.items():
            value, mark = getattr(config, name), location_mark(info)
            key = f"{prefix}{name}"
            if isinstance(value, Config):
                walk(value, f"{key}.")
            elif isinstance(value, tuple):
                for index, item in enumerate(value):
                    if isinstance(item, Config):
                        walk(item, f"{key}.{index}.")
            elif mark is not None and value is not None and value not in mark.keywords:
                _check_location(config, name, mark, key, faults)

    for row in rows:
        walk(row.config, "")
    faults[:] = list(dict.fromkeys(faults))


def _check_location(config: Config, name: str, mark: LocationMark, key: str, faults: list[str]) -> None:
    if name == "profile":
        return  # read, and so looked for, by check_profiles
    location = mark.strip(getattr(config, name))
    if location.startswith(PREFIX):
        unknown = location.removeprefix(PREFIX)
        faults.append(f"{key}: {location} is not known; allowed are {', '.join(NAMES)}.{did_you_mean(unknown, NAMES)}")
        return
    if isinstance(config, PoolConfig) and (files := config.files()) is not None:
        faults.extend([] if files else [f"{key}: {location} names no file; a pattern names at least one"])
        return
    path = Path(location)
    if name_of(path) is not None:
        return  # fetched when it is first read
    may_be_hub = (name == "path" or name == "judge") and not mark.is_file
    looks_like_file = path.is_absolute() or path.suffix in FILE_SUFFIXES
    if not path.exists() and (looks_like_file or not may_be_hub):
        cure = f"; write {PREFIX}{path.name}, or: selectit data fetch {path.name} --out {path.parent}"
        cure = cure if path.name in NAMES else ""
        faults.append(
            f"{key}: {location} does not exist; paths in a recipe are read from the recipe's own folder{cure}"
        )
    elif path.is_dir() and mark.is_file:
        faults.append(f"{key}: {location} is a folder; it must be a file")
    elif path.is_dir() and may_be_hub and not isinstance(config, PoolConfig | SelectFields):
        faults.extend(f"{key}: {fault}" for fault in missing_files(path))
