"""What is wrong with a recipe, each fault as one sentence: where, what was found, what is allowed.

Reads schemas, profiles and the file system; imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from selectit import yaml_text
from selectit.config import (
    ArmConfig,
    Config,
    EvaluateConfig,
    FullSelect,
    PoolConfig,
    RecipeConfig,
    as_written,
    location_mark,
    nested_configs,
    other_arm,
)
from selectit.data.fetch import NAMES, PREFIX, name_of
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.profile import Profile, load_profile
from selectit.inference.checkpoint import missing_files
from selectit.recipe.published import read_published

if TYPE_CHECKING:
    from selectit.recipe.rows import ArmPoint


def strategies() -> list[str]:
    union = get_args(ArmConfig.model_fields["select"].annotation)
    return [get_args(member.model_fields["strategy"].annotation)[0] for member in union]


def strategies_without(field: str) -> list[str]:
    union = get_args(ArmConfig.model_fields["select"].annotation)
    return [get_args(m.model_fields["strategy"].annotation)[0] for m in union if field not in m.model_fields]


def is_of_another_strategy(key: str, strategy: Any) -> bool:
    """True for a grid key such as select.alpha in an arm whose strategy has no alpha: the grid does not change it."""
    section, _, field = key.partition(".")
    without = strategies_without(field)
    return section == "select" and strategy in without and len(without) < len(strategies())


def validate(schema: type[Any], raw: Any, prefix: str, faults: list[str], top: Any = None, own: Any = None) -> Any:
    try:
        return as_written(schema, raw)
    except ValidationError as error:
        found = error.errors()
        for fault in found:
            if fault["type"] == "too_short" and any(f["loc"][:-1] == fault["loc"] for f in found):
                continue  # the list has elements, and each wrong one is reported
            location = [str(part) for part in fault["loc"]]
            strategy = None
            if len(location) > 1 and location[0] == "select" and location[1] in strategies():
                strategy = location.pop(1)
            if location[:2] == ["evaluate", "judge"]:
                del location[2:3]  # which of its two forms it was read as
            text = _sentence(fault, location, schema, strategy)
            inherited = own is not None and not _holds(own, location) and _holds(top, location)
            line = f"{'' if inherited else prefix}{'.'.join(location)}: {text}"
            if line not in faults:
                faults.append(line)
        return None


def _holds(raw: Any, location: Sequence[str]) -> bool:
    for part in location:
        if isinstance(raw, list) and part.isdigit() and int(part) < len(raw):
            raw = raw[int(part)]
        elif isinstance(raw, dict) and part in raw:
            raw = raw[part]
        else:
            return False
    return True


NO_BOOLEANS = ("yes", "no", "on", "off", "y", "n")


def _sentence(fault: Any, location: list[str], schema: type[BaseModel], strategy: str | None) -> str:
    value = fault["input"]
    found = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    found = found if len(found) <= 60 else found[:57] + "..."
    if fault["type"] == "extra_forbidden":
        if location[0] == "select" and len(location) == 2 and (owners := _strategies_with(location[1])):
            whose = f"this key belongs to strategy {' and '.join(owners)}"
            if strategy is not None:
                return f"{whose}, and the arm's is {strategy}; remove it"
            return f"{whose}; write it into the select section of an arm that has it"
        allowed = _allowed_keys(schema, location[:-1], strategy)
        return f"unknown key.{did_you_mean(location[-1], allowed)} Allowed here: {', '.join(allowed)}"
    if fault["type"] == "missing":
        return "missing; it must be given"
    if fault["type"] == "union_tag_invalid":
        strategy = fault["input"].get("strategy")
        allowed = strategies()
        return (
            f"strategy '{strategy}' is unknown; allowed are {', '.join(allowed)}.{did_you_mean(str(strategy), allowed)}"
        )
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if location[:1] == ["arms"] and value is None:
        return "null removes an arm of a parent recipe, and no parent has this one"
    if fault["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return f"found {found}; a section belongs here, written as a mapping"
    hint = ""
    if isinstance(value, str):
        hint = "; write true or false" if fault["type"] == "bool_type" and value.lower() in NO_BOOLEANS else hint
        hint = "; leave out the quotes" if _is_quoted_number(value) and fault["type"].endswith("_type") else hint
    return f"found {found}; {fault['msg'][0].lower()}{fault['msg'][1:]}{hint}"


def _is_quoted_number(text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in (yaml_text.INT, yaml_text.FLOAT, yaml_text.BOOL))


def _strategies_with(field: str) -> list[str]:
    return [name for name in strategies() if name not in strategies_without(field)]


def grid_key_fault(key: str, sections: Sequence[str]) -> str | None:
    """Why a dotted key is none that a grid can have; None where it is one."""
    section, *parts = key.split(".")
    if section not in sections:
        return f"a grid key starts with one of {', '.join(sections)}"
    if not parts:
        return f"it names a section; name one of its fields, such as {section}.{_allowed_keys(ArmConfig, [section])[0]}"
    holder = section
    forms = nested_configs(ArmConfig.model_fields[section])
    for part in parts:
        allowed = list(dict.fromkeys(name for form in forms for name in form.model_fields))
        if not allowed:
            return f"{holder} is a value and has no '{part}'"
        if part not in allowed:
            return f"unknown key '{part}' in {holder}.{did_you_mean(part, allowed)} Allowed are {', '.join(allowed)}"
        forms = [f for form in forms if part in form.model_fields for f in nested_configs(form.model_fields[part])]
        holder = f"{holder}.{part}"
    return None


def _allowed_keys(schema: type[BaseModel], location: Sequence[str], strategy: str | None = None) -> list[str]:
    """The keys of the section a location names; of a union, those of all its members, or of one strategy's."""
    schemas = [schema]
    for part in location:
        fields = [s.model_fields[part] for s in schemas if part in s.model_fields]
        if fields:
            schemas = [schema for field in fields for schema in nested_configs(field)] or schemas
    if strategy is not None:
        own = [s for s in schemas if strategy in get_args(s.model_fields["strategy"].annotation)]
        schemas = own or schemas
    return list(dict.fromkeys(name for s in schemas for name in s.model_fields))


def check_profiles(rows: Sequence[ArmPoint], faults: list[str]) -> dict[str, Profile]:
    profiles = {}
    for row in rows:
        evaluate = row.config.evaluate
        try:
            profile = profiles[row.arm] = load_profile(evaluate.profile)
        except UserError as error:
            message = str(error)
            faults.append(message if message.startswith("evaluate.profile:") else f"evaluate.profile: {message}")
            continue
        faults += check_benchmarks(evaluate, profile)
    faults[:] = list(dict.fromkeys(faults))
    return profiles


def check_benchmarks(evaluate: EvaluateConfig, profile: Profile) -> list[str]:
    """One sentence for each benchmark that the profile does not have."""
    return [
        f"evaluate.benchmarks: '{name}' is not in the profile {profile.name}; allowed are "
        f"{', '.join(profile.benchmarks)}.{did_you_mean(name, profile.benchmarks)}"
        for name in evaluate.benchmarks or ()
        if name not in profile.benchmarks
    ]


def check_references(config: RecipeConfig, rows: Sequence[ArmPoint], faults: list[str]) -> None:
    arms = list(config.arms)
    for arm in config.baselines:
        if arm not in arms:
            faults.append(
                f"baselines: there is no arm '{arm}'; the arms are {', '.join(arms)}.{did_you_mean(arm, arms)}"
            )
    if len(set(config.baselines)) < len(config.baselines):
        faults.append(f"baselines: {', '.join(config.baselines)} names an arm twice; name each once")
    _check_primary(config, faults)
    for row in rows:
        if (named := other_arm(row.config.select)) is not None:
            field, name = named
            others = [r for r in rows if r.point == row.point and _can_be_read(r.config, row.config)]
            if name not in (other.arm for other in others):
                allowed = dict.fromkeys(other.arm for other in others)
                faults.append(
                    f"arms.{row.arm}.select.{field}: found '{name}'; it must name an arm that chooses from the same "
                    f"pool by itself ({', '.join(allowed) or 'there is none in this recipe'})"
                )
    faults[:] = list(dict.fromkeys(faults))


def _check_primary(config: RecipeConfig, faults: list[str]) -> None:
    """What can be said before the table's rows are known; `selectit.plan.build` checks the row's label."""
    if (primary := config.primary) is None:
        return
    arms = list(config.arms)
    if primary.against not in config.baselines:
        faults.append(
            f"primary.against: '{primary.against}' is not one of the baselines ({', '.join(config.baselines)})"
        )
    if primary.row.partition(" (")[0] not in arms:
        faults.append(
            f"primary.row: there is no row '{primary.row}'; the arms are {', '.join(arms)}."
            f"{did_you_mean(primary.row, arms)}"
        )
    if primary.row == primary.against:
        faults.append(f"primary: row and against are both '{primary.row}'; compare two arms")


def _can_be_read(other: ArmConfig, config: ArmConfig) -> bool:
    """Whether an arm may say which rows it means by naming the other one."""
    by_itself = not isinstance(other.select, FullSelect) and other_arm(other.select) is None
    return by_itself and other.pool == config.pool


def check_published(locations: Sequence[str], faults: list[str]) -> None:
    for location in dict.fromkeys(locations):
        if locations.count(location) > 1:
            faults.append(f"published: {location} is named {locations.count(location)} times")
        try:
            read_published(location)
        except UserError as error:
            faults.append(str(error))


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
                _check_location(config, name, mark.strip(value), key, faults)

    for row in rows:
        walk(row.config, "")
    faults[:] = list(dict.fromkeys(faults))


def _check_location(config: Config, name: str, location: str, key: str, faults: list[str]) -> None:
    if name == "profile":
        return  # read, and so looked for, by check_profiles
    if location.startswith(PREFIX):
        unknown = location.removeprefix(PREFIX)
        faults.append(f"{key}: {location} is not known; allowed are {', '.join(NAMES)}.{did_you_mean(unknown, NAMES)}")
        return
    path = Path(location)
    if name_of(path) is not None:
        return  # fetched when it is first read
    if isinstance(config, PoolConfig) and (files := config.files()) is not None:
        faults.extend([] if files else [f"{key}: {location} names no file; a pattern names at least one"])
        return
    may_be_hub = name == "path" or name == "judge"
    looks_like_file = path.is_absolute() or bool(path.suffix in (".json", ".jsonl", ".parquet", ".txt", ".yaml"))
    if not path.exists() and (looks_like_file or not may_be_hub):
        cure = f"; write {PREFIX}{path.name}, or: selectit data fetch {path.name} --out {path.parent}"
        cure = cure if path.name in NAMES else ""
        faults.append(
            f"{key}: {location} does not exist; paths in a recipe are read from the recipe's own folder{cure}"
        )
    elif path.is_dir() and may_be_hub and not isinstance(config, PoolConfig):
        faults.extend(f"{key}: {fault}" for fault in missing_files(path))


def recipe_error(path: Path, faults: Sequence[str]) -> UserError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    text = f"recipe {path}: {count}\n" + "\n".join(f"  {fault}" for fault in faults)
    return UserError(text, tuple(faults))
