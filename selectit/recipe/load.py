"""Reading a recipe: YAML with one parent, `--set` on top, arms and grid resolved, all errors together.

Reads recipe files; yields a `Recipe` whose rows are fully resolved `ArmConfig`s. Imports nothing heavy.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selectit import secrets, yaml_text
from selectit.config import ArmConfig, RecipeConfig, nested_configs
from selectit.errors import UserError, did_you_mean
from selectit.recipe.layers import Layer, check_named_for_their_model, merge, merged
from selectit.recipe.locations import absolute, check_locations
from selectit.recipe.places import SET, Written, keys_of, placed
from selectit.recipe.rows import ArmPoint, Recipe
from selectit.recipe.validate import (
    check_profiles,
    check_published,
    check_references,
    grid_key_fault,
    is_of_another_strategy,
    recipe_error,
    validate,
)
from selectit.selection.registry import Strategies, known, shipped

SECTIONS = tuple(ArmConfig.model_fields)
UNTRAINED_SELECT = {"strategy": "full"}
"""Stands in for the select section of an arm that trains nothing."""


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file; relative paths in it (and in its parents) are read from the file's own folder.
        overrides: `dotted.key=value` texts; values are YAML, relative paths are read from the current folder.
    Raises: UserError listing every fault, each with its dotted path, the value found and what is allowed.
    """
    written: list[tuple[str, dict[str, int]]] = []
    read = _read(path, (), written)
    if overrides:
        given = _with_baselines(parse_overrides(overrides), SET)
        if "extends" in given:
            raise UserError(f"{SET} extends: a recipe's parent stands in its file; write a recipe that extends it")
        _check_texts(given, SET)
        read.append(((SET, given), Path.cwd()))
        written.append((SET, dict.fromkeys(keys_of(given), 1)))
    strategies = _strategies(path, read, written)
    layers = [(where, absolute(raw, RecipeConfig, strategies, folder)) for (where, raw), folder in read]
    return _resolve(path, layers, written, strategies)


def _strategies(path: Path, read: Sequence[tuple[Layer, Path]], written: Written) -> Strategies:
    """Those that ship and those of the plugins that the last layer names; what else may stand there is found later."""
    plugins: Any = []
    for (_, raw), folder in read:
        if "plugins" in raw:
            plugins = absolute({"plugins": raw["plugins"]}, RecipeConfig, shipped(), folder)["plugins"]
    if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
        return shipped()
    try:
        return known(plugins)
    except UserError as error:
        raise recipe_error(path, [placed(f"plugins: {error}", written, path)]) from error


def resolve_arm(raw: dict[str, Any], strategies: Strategies | None = None) -> ArmConfig:
    """An arm given without a recipe; relative paths are read from the current folder.

    Args:   strategies: those that it may name; None: those that ship.
    Raises: UserError listing every fault.
    """
    faults: list[str] = []
    strategies = strategies or shipped()
    config = validate(ArmConfig, absolute(raw, ArmConfig, strategies, Path.cwd()), "", faults, strategies)
    if config is not None:
        check_locations([ArmPoint("", (), config)], faults)
    if faults:
        raise UserError("\n".join(faults))
    return config


def parse_overrides(overrides: Sequence[str], section: str = "", option: str = "--set") -> dict[str, Any]:
    """`dotted.key=value` texts as a nested mapping; values are YAML.

    Args: section: put in front of every key; option: what the texts were given with, for the errors.
    """
    raw: dict[str, Any] = {}
    given: dict[str, None] = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key.strip():
            example = "timeout_min=600" if option == "--slurm" else f"{section or 'finetune.'}learning_rate=1e-5"
            raise UserError(f"{option} {override}: write key=value, such as {option} {example}")
        if secrets.looks_like_key(value):
            raise UserError(f"{option} {key}: {HIDE}")
        if (before := next((one for one in given if _concerns(one, key.strip())), None)) is not None:
            raise UserError(f"{option} {override}: {option} {before} gives it too; give each key once")
        given[key.strip()] = None
        _set(raw, f"{section}{key.strip()}", yaml_text.parse(value, f"{option} {override}"))
    return raw


def _concerns(key: str, other: str) -> bool:
    """Whether one of two dotted keys is the other or a section around it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _read(
    path: Path, children: tuple[Path, ...], written: list[tuple[str, dict[str, int]]]
) -> list[tuple[Layer, Path]]:
    """The recipe and its parents, each with its folder, the first ancestor first; `written` gets the lines of each."""
    if not path.is_file():
        wanted = f" (named by extends in {children[-1]})" if children else ""
        raise UserError(f"recipe {path} does not exist{wanted}; recipes are YAML files such as recipes/quickstart.yaml")
    if path.resolve() in children:
        raise UserError(f"recipe {path} extends itself through {' -> '.join(map(str, children))}")
    raw, lines = yaml_text.read_with_lines(path, f"recipe {path}")
    if not isinstance(raw, dict):
        raise UserError(
            f"recipe {path}: found {type(raw).__name__}; a recipe is a mapping (name:, pool:, model:, arms: ...)"
        )
    _check_texts(raw, f"recipe {path}")
    parent = raw.get("extends")
    if parent is not None and not isinstance(parent, str):
        raise UserError(f"recipe {path}: extends: found {parent!r:.60}; it is the path of one recipe")
    raw = _with_baselines(raw, str(path))
    if "baseline" in lines:
        lines["baselines"] = lines["baseline"]
    above = [] if parent is None else _read(path.parent / parent, (*children, path.resolve()), written)
    written.append((str(path), lines))
    return [*above, ((str(path), raw), path.resolve().parent)]


HIDE = (
    "looks like a key or a password, which is not shown here and must not stand in a recipe: recipes are kept in "
    "manifests, reports and packs. Put it into an environment variable"
)
VARIABLE = re.compile(r"\$\{[^}]*\}")


def _check_texts(raw: dict[str, Any], where: str) -> None:
    """Raises: UserError for what looks like a key, and for `${...}`, which nothing here resolves."""
    if found := secrets.find(raw):
        raise UserError(f"{where}: {', '.join(found)} {HIDE}")
    for key, text in _texts({name: value for name, value in raw.items() if name != "description"}):
        if VARIABLE.search(text):
            raise UserError(
                f"{where}: {key}: found {text!r:.80}, and a recipe has no variables; write the value, or give it "
                f"with --set {key}=..."
            )


def _texts(raw: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a nested mapping, keys included, with where it stands."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield where or key, key
            yield from _texts(value, f"{where}.{key}" if where else key)
    elif isinstance(raw, list):
        for value in raw:
            yield from _texts(value, where)
    elif isinstance(raw, str):
        yield where, raw


def _with_baselines(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """`baseline: random`, as recipes had it, is read as `baselines: [random]`.

    Raises: UserError where both are given.
    """
    if "baseline" not in raw:
        return raw
    if "baselines" in raw:
        raise UserError(f"{where}: give `baselines` alone; `baseline` is its old form with one arm")
    return {("baselines" if key == "baseline" else key): [v] if key == "baseline" else v for key, v in raw.items()}


class NoSection(Exception):
    """A dotted key goes through something that is not a section."""


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for number, parent in enumerate(parents, start=1):
        below = raw.setdefault(parent, {})
        if not isinstance(below, dict):
            raise NoSection(f"{'.'.join(parents[:number])} is {below!r:.40}, which has no '{key.split('.')[number]}'")
        raw = below
    raw[last] = value


def _resolve(path: Path, layers: Sequence[Layer], written: Written, strategies: Strategies) -> Recipe:
    faults: list[str] = []
    raw = merged(layers)
    config = validate(RecipeConfig, raw, "", faults, strategies)
    if config is None:
        raise recipe_error(path, [placed(fault, written, path) for fault in faults])
    for key in config.grid:
        if (wrong := grid_key_fault(key, SECTIONS, strategies)) is not None:
            faults.append(f"grid.{key}: {wrong}")
        elif not config.grid[key]:
            faults.append(f"grid.{key}: the list of values is empty")
        elif twice := [value for at, value in enumerate(config.grid[key]) if value in config.grid[key][:at]]:
            faults.append(f"grid.{key}: found {twice[0]!r:.60} twice; name each value once")
    points = [tuple(zip(config.grid, values, strict=True)) for values in itertools.product(*config.grid.values())]
    rows = (
        []
        if faults
        else [
            row
            for arm in config.arms
            for point in points
            if (row := _row(raw, arm, point, faults, strategies)) is not None
        ]
    )
    profiles = check_profiles(rows, faults)
    check_references(config, rows, faults)
    check_named_for_their_model(layers, rows, faults)
    check_locations(rows, faults)
    check_published(config.published_files, faults)
    if faults:
        raise recipe_error(path, [placed(fault, written, path) for fault in faults])
    parents = tuple(Path(where) for where, _ in layers if where not in (str(path), SET))
    return Recipe(path, config, tuple(rows), profiles, parents, tuple(written), strategies)


def _row(
    raw: dict[str, Any], arm: str, point: tuple[tuple[str, Any], ...], faults: list[str], strategies: Strategies
) -> ArmPoint | None:
    sections = raw["arms"][arm]
    for key in sections:
        if key not in SECTIONS:
            faults.append(
                f"arms.{arm}.{key}: unknown section; allowed are {', '.join(SECTIONS)}.{did_you_mean(key, SECTIONS)}"
            )
            return None
    wrong = [key for key, value in sections.items() if value is not None and not isinstance(value, dict)]
    for key in wrong:
        example = "{strategy: random}" if key == "select" else f"{{{next(iter(_fields_of(key)))}: ...}}"
        faults.append(f"arms.{arm}.{key}: found {sections[key]!r:.60}; write a mapping such as {example}")
    if wrong:
        return None
    shared = copy.deepcopy({key: raw[key] for key in SECTIONS if key in raw})  # the grid changes it below
    own_and_shared = merge(shared, sections)
    if own_and_shared.get("select") is None:
        own_and_shared["select"] = {}
    select, own = own_and_shared["select"], sections.get("select") or {}
    # the strategy first: which other keys change the arm depends on it
    for key, value in sorted(point, key=lambda item: item[0] != "select.strategy"):
        if not is_of_another_strategy(key, select.get("strategy"), strategies):
            try:
                _set(own_and_shared, key, value)
            except NoSection as error:
                faults.append(f"grid.{key}: {error}")
                return None
    untrained = (own_and_shared.get("finetune") or {}).get("method") == "none"
    if untrained and own:
        faults.append(f"arms.{arm}.select: finetune.method is none, so nothing is selected; remove the section")
    if untrained:
        own_and_shared["select"] = UNTRAINED_SELECT
    elif "strategy" not in select:
        faults.append(f"arms.{arm}.select.strategy: missing; name one of {', '.join(strategies)}")
        return None
    elif select["strategy"] in [*strategies] and select["strategy"] not in strategies.having("ratio"):
        if "ratio" in own:
            faults.append(
                f"arms.{arm}.select.ratio: strategy '{select['strategy']}' decides how many rows it takes; "
                "remove the ratio"
            )
        own_and_shared["select"] = {key: value for key, value in select.items() if key != "ratio" or key in own}
    before = len(faults)
    config = validate(ArmConfig, own_and_shared, f"arms.{arm}.", faults, strategies, top=raw, own=sections)
    return ArmPoint(arm, point, config) if config is not None and len(faults) == before else None


def _fields_of(section: str) -> list[str]:
    [form, *_] = nested_configs(ArmConfig.model_fields[section])
    return list(form.model_fields)
