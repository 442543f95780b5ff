"""Reading a recipe: YAML with one parent, `--set` on top, arms and grid resolved, every error at once.

Reads recipe files; yields a `Recipe` whose rows are fully resolved `ArmConfig`s. Imports nothing heavy.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from selectit.config import (
    ArmConfig,
    Config,
    EvaluateConfig,
    FinetuneConfig,
    PoolConfig,
    RandomRestSelect,
    RecipeConfig,
    SelectITSelect,
    location_mark,
)
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.profile import Profile, load_profile

SECTIONS = tuple(ArmConfig.model_fields)
UNTRAINED_SELECT = {"strategy": "full"}
"""Stands in for the select section of an arm that trains nothing."""


@dataclass(frozen=True)
class Row:
    """One row of the table: an arm at one point of the grid."""

    arm: str
    point: tuple[tuple[str, Any], ...]
    """(dotted key, value) of each grid dimension."""
    config: ArmConfig

    def label(self, shown: Iterable[str]) -> str:
        """Arm name and the grid values of the keys in `shown`."""
        values = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in self.point if key in shown]
        return self.arm if not values else f"{self.arm} ({', '.join(values)})"


@dataclass(frozen=True)
class Recipe:
    path: Path
    config: RecipeConfig
    rows: tuple[Row, ...]
    profiles: Mapping[str, Profile]
    """Arm name -> the profile it is evaluated with."""


class UniqueKeyLoader(yaml.SafeLoader):
    """A repeated key would silently drop an arm; here it is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key_node.tag != "tag:yaml.org,2002:merge" and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands twice in one mapping", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file; relative paths in it (and in its parents) are read from the file's own folder.
        overrides: `dotted.key=value` texts; values are YAML, relative paths are read from the current folder.
    Raises: UserError listing every fault, each with its dotted path, the value found and what is legal.
    """
    raw = _merge(_read(path, ()), _absolute(parse_overrides(overrides), RecipeConfig, Path.cwd()))
    return _resolve(path, raw)


def resolve_arm(raw: dict[str, Any]) -> ArmConfig:
    """An arm given without a recipe; relative paths are read from the current folder.

    Raises: UserError listing every fault.
    """
    faults: list[str] = []
    config = _validate(ArmConfig, _absolute(raw, ArmConfig, Path.cwd()), "", faults)
    if config is not None:
        _check_locations([Row("", (), config)], faults)
    if faults:
        raise UserError("\n".join(faults))
    return config


def parse_overrides(overrides: Sequence[str], section: str = "") -> dict[str, Any]:
    """`dotted.key=value` texts as a nested mapping; values are YAML.

    Args: section: put in front of every key.
    """
    raw: dict[str, Any] = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key.strip():
            raise UserError(
                f"--set {override}: write key=value, such as --set {section or 'finetune.'}learning_rate=1e-5"
            )
        try:
            _set(raw, f"{section}{key.strip()}", yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise UserError(f"--set {override}: the value is not YAML ({error})") from error
    return raw


def _read(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        wanted = f" (named by extends in {children[-1]})" if children else ""
        raise UserError(f"recipe {path} does not exist{wanted}; recipes are YAML files such as recipes/quickstart.yaml")
    if path.resolve() in children:
        raise UserError(f"recipe {path} extends itself through {' -> '.join(map(str, children))}")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise UserError(f"recipe {path} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(
            f"recipe {path}: found {type(raw).__name__}; a recipe is a mapping (name:, pool:, model:, arms: ...)"
        )
    parent = raw.get("extends")
    raw = _absolute(raw, RecipeConfig, path.resolve().parent)
    if parent is None:
        return raw
    return _merge(_read((path.parent / str(parent)), (*children, path.resolve())), raw)


def _merge(base: Any, top: Any) -> Any:
    """Mappings merge key by key, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(top, dict):
        return copy.deepcopy(top)
    merged = dict(base)
    for key, value in top.items():
        merged[key] = _merge(base[key], value) if key in base else copy.deepcopy(value)
    return merged


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
    raw[last] = value


def _absolute(raw: Any, schema: type[BaseModel], folder: Path) -> Any:
    """Paths of one file made absolute where they exist beside it; hub ids and faults are left as they are."""
    if not isinstance(raw, dict):
        return raw
    resolved = dict(raw)
    for key, value in raw.items():
        if schema is RecipeConfig and key == "arms" and isinstance(value, dict):
            resolved[key] = {arm: _absolute(sections, ArmConfig, folder) for arm, sections in value.items()}
            continue
        info = schema.model_fields.get(key)
        if info is None:
            continue
        mark = location_mark(info)
        if mark is not None and isinstance(value, str) and value not in mark.keywords:
            location = mark.strip(value)
            prefix = value[: len(value) - len(location)]
            target = folder / Path(location).expanduser()
            if target.exists() or location.startswith(("./", "../", "~", "/")):
                resolved[key] = f"{prefix}{target.resolve()}"
            continue
        nested = next((t for t in (info.annotation, *_leaves(info.annotation)) if _is_config(t)), None)
        if nested is not None:
            many = isinstance(value, list)
            resolved[key] = [_absolute(v, nested, folder) for v in value] if many else _absolute(value, nested, folder)
    return resolved


def _leaves(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [leaf for a in arguments for leaf in (a, *_leaves(a))]


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Config)


def _resolve(path: Path, raw: dict[str, Any]) -> Recipe:
    faults: list[str] = []
    config = _validate(RecipeConfig, raw, "", faults)
    if config is None:
        raise _error(path, faults)
    for key in config.grid:
        if key.split(".")[0] not in SECTIONS:
            faults.append(f"grid.{key}: a grid key starts with one of {', '.join(SECTIONS)}")
        elif not config.grid[key]:
            faults.append(f"grid.{key}: the list of values is empty")
    points = [tuple(zip(config.grid, values, strict=True)) for values in itertools.product(*config.grid.values())]
    rows = (
        []
        if faults
        else [row for arm in config.arms for point in points if (row := _row(raw, arm, point, faults)) is not None]
    )
    profiles = _check_profiles(rows, faults)
    _check_references(config, rows, faults)
    _check_locations(rows, faults)
    if faults:
        raise _error(path, faults)
    return Recipe(path, config, tuple(rows), profiles)


def _row(raw: dict[str, Any], arm: str, point: tuple[tuple[str, Any], ...], faults: list[str]) -> Row | None:
    sections = raw["arms"][arm]
    for key in sections:
        if key not in SECTIONS:
            faults.append(
                f"arms.{arm}.{key}: unknown section; legal are {', '.join(SECTIONS)}.{did_you_mean(key, SECTIONS)}"
            )
            return None
    merged = {key: raw[key] for key in SECTIONS if key in raw}
    merged = _merge(merged, sections)
    strategy = (merged.get("select") or {}).get("strategy")
    for key, value in point:
        if not _is_of_another_strategy(key, strategy):
            _set(merged, key, value)
    select = merged.setdefault("select", {})
    own = sections.get("select") or {}
    if not isinstance(select, dict) or not isinstance(own, dict):
        faults.append(f"arms.{arm}.select: found {own!r:.60}; write a mapping such as {{strategy: random}}")
        return None
    untrained = (merged.get("finetune") or {}).get("method") == "none"
    if untrained and own:
        faults.append(f"arms.{arm}.select: finetune.method is none, so nothing is selected; remove the section")
    if untrained:
        merged["select"] = UNTRAINED_SELECT
    elif "strategy" not in select:
        faults.append(f"arms.{arm}.select.strategy: missing; name one of {', '.join(_strategies())}")
        return None
    elif select["strategy"] == "full":
        if "ratio" in own:
            faults.append(f"arms.{arm}.select.ratio: strategy 'full' takes every row; remove the ratio")
        merged["select"] = {key: value for key, value in select.items() if key != "ratio" or key in own}
    before = len(faults)
    config = _validate(ArmConfig, merged, f"arms.{arm}.", faults, top=raw, own=sections)
    return Row(arm, point, config) if config is not None and len(faults) == before else None


def _is_of_another_strategy(key: str, strategy: Any) -> bool:
    """True for a grid key such as select.alpha in an arm whose strategy has no alpha: the grid does not change it."""
    section, _, field = key.partition(".")
    members = {
        get_args(member.model_fields["strategy"].annotation)[0]: member.model_fields
        for member in get_args(ArmConfig.model_fields["select"].annotation)
    }
    if section != "select" or strategy not in members:
        return False
    return field not in members[strategy] and any(field in fields for fields in members.values())


def _strategies() -> list[str]:
    union = get_args(ArmConfig.model_fields["select"].annotation)
    return [get_args(member.model_fields["strategy"].annotation)[0] for member in union]


def _validate(schema: type[Any], raw: Any, prefix: str, faults: list[str], top: Any = None, own: Any = None) -> Any:
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors():
            location = [str(part) for part in fault["loc"]]
            if len(location) > 1 and location[0] == "select" and location[1] in _strategies():
                del location[1]
            text = _sentence(fault, location, schema)
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


def _sentence(fault: Any, location: list[str], schema: type[BaseModel]) -> str:
    found = repr(fault["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    if fault["type"] == "extra_forbidden":
        legal = _legal_keys(schema, location[:-1])
        return f"unknown key.{did_you_mean(location[-1], legal)} Legal here: {', '.join(legal)}"
    if fault["type"] == "missing":
        return "missing; it must be given"
    if fault["type"] == "union_tag_invalid":
        strategy = fault["input"].get("strategy")
        legal = _strategies()
        return f"strategy '{strategy}' is unknown; legal are {', '.join(legal)}.{did_you_mean(str(strategy), legal)}"
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"found {found}; {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _legal_keys(schema: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys of the section a location names; of a union, those of all its members."""
    schemas = [schema]
    for part in location:
        fields = [s.model_fields[part] for s in schemas if part in s.model_fields]
        if fields:
            schemas = [t for f in fields for t in (f.annotation, *_leaves(f.annotation)) if _is_config(t)] or schemas
    return list(dict.fromkeys(name for s in schemas for name in s.model_fields))


def _check_profiles(rows: Sequence[Row], faults: list[str]) -> dict[str, Profile]:
    profiles = {}
    for row in rows:
        evaluate = row.config.evaluate
        try:
            profile = profiles[row.arm] = load_profile(evaluate.profile)
        except UserError as error:
            faults.append(f"evaluate.profile: {error}")
            continue
        faults += check_benchmarks(evaluate, profile)
    faults[:] = list(dict.fromkeys(faults))
    return profiles


def check_benchmarks(evaluate: EvaluateConfig, profile: Profile) -> list[str]:
    """One sentence for each benchmark that the profile does not have."""
    return [
        f"evaluate.benchmarks: '{name}' is not in the profile {profile.name}; legal are "
        f"{', '.join(profile.benchmarks)}.{did_you_mean(name, profile.benchmarks)}"
        for name in evaluate.benchmarks or ()
        if name not in profile.benchmarks
    ]


def _check_references(config: RecipeConfig, rows: Sequence[Row], faults: list[str]) -> None:
    arms = list(config.arms)
    if config.baseline not in arms:
        faults.append(
            f"baseline: there is no arm '{config.baseline}'; legal are {', '.join(arms)}."
            f"{did_you_mean(config.baseline, arms)}"
        )
    for row in rows:
        select = row.config.select
        if isinstance(select, RandomRestSelect):
            other = next((r for r in rows if r.arm == select.rest_of and r.point == row.point), None)
            if other is None or not isinstance(other.config.select, SelectITSelect):
                raters = [r.arm for r in rows if isinstance(r.config.select, SelectITSelect)]
                faults.append(
                    f"arms.{row.arm}.select.rest_of: found '{select.rest_of}'; it must name a selectit arm"
                    f" ({', '.join(dict.fromkeys(raters)) or 'there is none in this recipe'})"
                )
    faults[:] = list(dict.fromkeys(faults))


def _check_locations(rows: Sequence[Row], faults: list[str]) -> None:
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
    path = Path(location)
    may_be_hub = name == "path" or name == "judge"
    looks_like_file = path.is_absolute() or bool(path.suffix in (".json", ".jsonl", ".parquet", ".txt", ".yaml"))
    if not path.exists() and (looks_like_file or not may_be_hub):
        faults.append(f"{key}: {location} does not exist; paths in a recipe are read from the recipe's own folder")
    elif path.is_dir() and may_be_hub and not isinstance(config, PoolConfig):
        from selectit.checkpoint import missing_files

        faults.extend(f"{key}: {fault}" for fault in missing_files(path))


def _error(path: Path, faults: Sequence[str]) -> UserError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return UserError(f"recipe {path}: {count}\n" + "\n".join(f"  {fault}" for fault in faults))


def trains(finetune: FinetuneConfig) -> bool:
    return finetune.method != "none"
