"""What `selectit diff` compares: for each number of a recipe, a results folder or an artifact, how it came about.

Reads recipes, results.csv, and manifests; hashes the input files of a recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selectit.audit.trace import is_artifact, open_results
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.plan.graph import CONFIG_OF, Plan, Stage
from selectit.plan.status import State, inspect
from selectit.recipe.load import load
from selectit.report.tables.results import column_of, secondary_metrics
from selectit.selection.registry import shipped
from selectit.store.artifact import read_manifest
from selectit.store.fingerprint import digest, identity, with_later_defaults
from selectit.store.kinds import KINDS
from selectit.store.names import RESULT_FILE
from selectit.store.runs_folder import Store

CellKey = tuple[str, ...]
"""Row, benchmark, selection, training and evaluation seed; of an artifact, its kind and the metric."""
CIRCUMSTANCES = ("device", "git_commit", "git_dirty")
TIMES = ("seconds", "tokens_per_second")
MAX_TEXT = 80


@dataclass(frozen=True)
class StageSetting:
    """`text` is for people: a location has its path and its hash; `value` decides whether two are the same."""

    value: Any
    text: str


@dataclass(frozen=True)
class Made:
    """One stage behind a number."""

    kind: str
    settings: Mapping[str, StageSetting]
    """Dotted key, as a recipe spells it where it can -> what counts for the result."""
    execution: Mapping[str, Any]
    circumstances: Mapping[str, Any]
    """{} where the stage has not been run."""
    content: str | None


@dataclass
class Side:
    title: str
    chains: dict[CellKey, dict[str, Made]] = field(default_factory=dict)
    """Number -> role (score0, select, finetune, evaluate) -> stage, inputs first."""
    values: dict[CellKey, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_side(path: Path, runs_dir: Path) -> Side:
    """Raises: UserError where the path is neither a recipe nor a folder of results nor an artifact."""
    if path.suffix in (".yaml", ".yml"):
        return _of_recipe(path, runs_dir)
    if is_artifact(path):
        return _of_artifact(path)
    if path.is_dir():
        return _of_results(path)
    raise UserError(f"{path} does not exist; name a recipe, the folder of a report, or an artifact folder")


def _of_recipe(path: Path, runs_dir: Path) -> Side:
    plan, store = build(load(path)), Store(runs_dir)
    states, side = inspect(plan, store), Side(str(path))
    made: dict[Stage, Made] = {}
    for row in plan.rows:
        for cell in row.cells:
            chain = {
                role: made.setdefault(stage, _planned(stage, states[stage], plan, store, side))
                for role, stage in _roles(cell.stage).items()
            }
            values: dict[str, float | None] = {cell.benchmark: None}
            artifact = states[cell.stage].artifact
            if artifact is not None:
                record = json.loads((artifact.path / RESULT_FILE).read_text(encoding="utf-8"))
                values[cell.benchmark] = record["value"]
                for metric in secondary_metrics(record):
                    values[column_of(cell.benchmark, metric)] = record["metrics"][metric]["value"]
            for column, value in values.items():
                key = (row.label, column, *map(str, (cell.select_seed, cell.train_seed, cell.eval_seed)))
                side.chains[key] = chain
                if value is not None:
                    side.values[key] = value
    side.notes = list(dict.fromkeys(side.notes))
    return side


def _roles(stage: Stage, prefix: str = "") -> dict[str, Stage]:
    roles: dict[str, Stage] = {}
    for name, other in stage.inputs:
        roles |= _roles(other, _below(prefix, name))
    return {**roles, _role(stage.kind, prefix): stage}


def _below(prefix: str, name: str) -> str:
    """`rest_of ` and `score1` stay in the role; `subset` and `model` are what a stage of that kind always reads."""
    return prefix if name in ("subset", "model") else f"{prefix}{name} "


def _role(kind: str, prefix: str) -> str:
    base = kind.split("-")[0]
    return prefix.strip() if base == "score" else f"{prefix}{base}"


def _planned(stage: Stage, state: State, plan: Plan, store: Store, side: Side) -> Made:
    if state.artifact is not None:
        return _recorded(state.artifact.manifest)
    config = stage.config.model_dump(mode="json")
    try:
        counted = identity(stage.config, store.hasher)
    except UserError as error:
        side.notes.append(f"{side.title}: {plan.title(stage)}: its inputs are compared by name only ({error})")
        counted = config
    return _made(stage.kind, KINDS[stage.kind].version, counted, config, {}, None)


def _of_results(path: Path) -> Side:
    results = open_results(path)
    side = Side(str(path))
    for line in results.lines:
        key = tuple(line[k] for k in ("row", "benchmark", "select_seed", "train_seed", "eval_seed"))
        side.chains[key] = _chain(results.artifacts, line["artifact"], side) if line["artifact"] else {}
        if line["value"]:
            side.values[key] = float(line["value"])
    side.notes = list(dict.fromkeys(side.notes))
    return side


def _of_artifact(path: Path) -> Side:
    path = path.absolute()
    side, manifest = Side(str(path)), read_manifest(path)
    assert manifest is not None
    chain = _chain(path.parent, path.name, side)
    numbers = {k: v for k, v in manifest["metrics"].items() if isinstance(v, int | float) and k not in TIMES}
    for name, value in numbers.items():
        key = (manifest["kind"].split("-")[0], name)
        side.chains[key], side.values[key] = chain, value
    return side


def _chain(artifacts: Path, name: str, side: Side, prefix: str = "") -> dict[str, Made]:
    manifest = read_manifest(artifacts / name)
    if manifest is None:
        side.notes.append(f"{side.title}: {name} is not there, so its settings are not known")
        return {}
    chain: dict[str, Made] = {}
    for role, other in manifest["inputs"].items():
        chain |= _chain(artifacts, other, side, _below(prefix, role))
    return {**chain, _role(manifest["kind"], prefix): _recorded(manifest)}


def _recorded(manifest: Mapping[str, Any]) -> Made:
    hashed, libraries = manifest["identity"], manifest.get("libraries") or {}
    circumstances = {
        **{name: manifest.get(name) for name in CIRCUMSTANCES},
        **{f"libraries.{name}": version for name, version in libraries.items()},
    }
    return _made(
        manifest["kind"], hashed["version"], hashed["config"], manifest["config"], circumstances, manifest["content"]
    )


def _made(
    kind: str, version: int, counted: Any, config: Any, circumstances: dict[str, Any], content: str | None
) -> Made:
    named, whole = leaves(config), with_later_defaults(counted, CONFIG_OF[kind.split("-")[0]], shipped().forms)
    settings = {
        recipe_key(kind, key): StageSetting(value, _text(value, named.get(key))) for key, value in leaves(whole).items()
    }
    settings[f"version of the {kind.split('-')[0]} stage"] = StageSetting(version, str(version))
    execution = {
        recipe_key(kind, key): value
        for key, value in named.items()
        if recipe_key(kind, key) not in settings and not key.endswith("revision")
    }
    return Made(kind, settings, execution, circumstances, content)


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; what a location resolved to is one value."""
    if isinstance(config, Mapping) and not {"sha256", "hub"} & set(config):
        return {k: v for key, value in config.items() for k, v in leaves(value, f"{prefix}{key}.").items()}
    return {prefix.removesuffix("."): config}


def _text(value: Any, named: Any) -> str:
    if isinstance(value, Mapping):
        mark = f"sha256 {value['sha256'][:12]}" if "sha256" in value else f"commit {value['revision'][:12]}"
        return f"{Path(str(named)).name} ({mark})"
    text = "none" if value is None else str(value)
    is_long = isinstance(value, list | tuple) and len(text) > MAX_TEXT
    return f"{len(value)} texts (sha256 {digest(value)[:12]})" if is_long else text


def recipe_key(kind: str, key: str) -> str:
    """The key under which a recipe sets a stage's field."""
    base, section = kind.split("-")[0], key.split(".")[0]
    if key == "seed":
        return {"select": "seeds.select", "finetune": "seeds.train", "evaluate": "seeds.eval"}[base]
    if key == "prompts":
        return "score.rating_prompts"
    if base == "score" and section == "model":
        return f"score.models.{key.removeprefix('model.')}"
    if base == "select" and section in ("tokenizer", "theta"):
        return {"tokenizer": key.replace("tokenizer", "model"), "theta": "score.models.parameters_in_billions"}[section]
    if section in ("pool", "model", "select", "finetune"):
        return key
    return f"{base}.{key}"
