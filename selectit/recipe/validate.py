"""What is wrong with a recipe, each fault as one sentence: where, what was found, what is allowed.

Reads schemas, profiles and the file system; imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from selectit import yaml_text
from selectit.config import ArmConfig, EvaluateConfig, RecipeConfig, as_written
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.profile import Profile, load_profile
from selectit.recipe.published import read_published
from selectit.selection.registry import Strategies
from selectit.selection.strategy import needed_arms, strategy_of

if TYPE_CHECKING:
    from selectit.recipe.rows import ArmPoint


def is_of_another_strategy(key: str, strategy: Any, strategies: Strategies) -> bool:
    """True for a grid key such as select.alpha in an arm whose strategy has no alpha: the grid does not change it."""
    section, _, field = key.partition(".")
    having = strategies.having(field)
    return section == "select" and strategy in [*strategies] and strategy not in having and len(having) > 0


def validate(
    schema: type[Any],
    raw: Any,
    prefix: str,
    faults: list[str],
    strategies: Strategies,
    top: Any = None,
    own: Any = None,
) -> Any:
    try:
        return as_written(schema, raw, strategies.context)
    except ValidationError as error:
        found = error.errors()
        given = (raw.get("select") or {}).get("strategy") if schema is ArmConfig else None
        named = given if isinstance(given, str) else None
        for fault in found:
            if fault["type"] == "too_short" and any(f["loc"][:-1] == fault["loc"] for f in found):
                continue  # the list has elements, and each wrong one is reported
            location = [str(part) for part in fault["loc"]]
            if location[:2] == ["evaluate", "judge"]:
                del location[2:3]  # which of its two forms it was read as
            if location[:2] == ["select", "mix"] and location[3:4] == ["select"]:
                del location[3:4]  # a part's strategy has its fields next to those of the part
            if location[:2] == ["select", "diversify"] and len(location) > 3:
                del location[2:3]  # the name of its method
            text = _sentence(fault, location, schema, named, strategies)
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


def _sentence(
    fault: Any, location: list[str], schema: type[BaseModel], named: str | None, strategies: Strategies
) -> str:
    """Args: named: the arm's strategy."""
    value = fault["input"]
    found = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    found = found if len(found) <= 60 else found[:57] + "..."
    if fault["type"] == "extra_forbidden":
        if location[0] == "select" and len(location) == 2 and (owners := strategies.having(location[1])):
            whose = f"this key belongs to strategy {' and '.join(owners)}"
            if named is not None:
                return f"{whose}, and the arm's is {named}; remove it"
            return f"{whose}; write it into the select section of an arm that has it"
        allowed = _allowed_keys(schema, location[:-1], strategies, named)
        return f"unknown key.{did_you_mean(location[-1], allowed)} Allowed here: {', '.join(allowed)}"
    if fault["type"] == "missing":
        return "missing; it must be given"
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


def grid_key_fault(key: str, sections: Sequence[str], strategies: Strategies) -> str | None:
    """Why a dotted key is none that a grid can have; None where it is one."""
    section, *parts = key.split(".")
    if section not in sections:
        return f"a grid key starts with one of {', '.join(sections)}"
    if not parts:
        first = _allowed_keys(ArmConfig, [section], strategies)[0]
        return f"it names a section; name one of its fields, such as {section}.{first}"
    holder = section
    forms = strategies.forms(ArmConfig.model_fields[section])
    for part in parts:
        allowed = list(dict.fromkeys(name for form in forms for name in form.model_fields))
        if not allowed:
            return f"{holder} is a value and has no '{part}'"
        if part not in allowed:
            return f"unknown key '{part}' in {holder}.{did_you_mean(part, allowed)} Allowed are {', '.join(allowed)}"
        forms = [f for form in forms if part in form.model_fields for f in strategies.forms(form.model_fields[part])]
        holder = f"{holder}.{part}"
    return None


def _allowed_keys(
    schema: type[BaseModel], location: Sequence[str], strategies: Strategies, named: str | None = None
) -> list[str]:
    """The keys of the section a location names; of one with several forms, those of all, or of one strategy."""
    schemas = [schema]
    for part in location:
        fields = [s.model_fields[part] for s in schemas if part in s.model_fields]
        if fields:
            schemas = [schema for field in fields for schema in strategies.forms(field)] or schemas
    if named is not None and named in strategies and strategies[named] in schemas:
        schemas = [strategies[named]]
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
        others = [r for r in rows if r.point == row.point and _can_be_read(r.config, row.config)]
        for need in needed_arms(row.config):
            if need.arm not in (other.arm for other in others):
                allowed = dict.fromkeys(other.arm for other in others)
                faults.append(
                    f"arms.{row.arm}.select.{need.field}: found '{need.arm}'; it must name an arm that chooses from "
                    f"the same pool by itself ({', '.join(allowed) or 'there is none in this recipe'})"
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
    """Whether an arm may refer to the rows of the other one by its name."""
    by_itself = not strategy_of(other).takes_all and not needed_arms(other)
    return by_itself and other.pool == config.pool


def check_published(locations: Sequence[str], faults: list[str]) -> None:
    for location in dict.fromkeys(locations):
        if locations.count(location) > 1:
            faults.append(f"published: {location} is named {locations.count(location)} times")
        try:
            read_published(location)
        except UserError as error:
            faults.append(str(error))


def recipe_error(path: Path, faults: Sequence[str]) -> UserError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    text = f"recipe {path}: {count}\n" + "\n".join(f"  {fault}" for fault in faults)
    return UserError(text, tuple(faults))
