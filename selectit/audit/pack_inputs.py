"""The files that a recipe names, in an exported pack, and the recipe with its paths changed to those in the pack.

Reads the files; hub ids, words such as `hub` and `fetch:NAME` stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from selectit import yaml_text
from selectit.config import ArmConfig, JudgeConfig, LocationMark, ModelConfig, PoolConfig, RecipeConfig, SelectFields
from selectit.config.inputs import files_of_pattern, root_of_pattern
from selectit.data.fetch import PREFIX, name_of
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.benchmarks.task_files import find_task
from selectit.evaluate.profile import data_files, load_profile
from selectit.plan.graph import Plan
from selectit.recipe.locations import map_locations
from selectit.recipe.published.files import profiles_named
from selectit.report.tables.results import recipe_of

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
OF_THIS_MACHINE = ("comet_python", "vllm_python")
"""Settings of execution that hold the path of a program."""
INPUTS = "inputs"


class Inputs:
    """Args:
    plan: of a recipe.
    weights: whether weights of local models are packed.
    copies: whether pools, benchmark data and local models are packed; texts always are.
    """

    def __init__(self, plan: Plan, weights: bool, copies: bool) -> None:
        self._plan, self._weights, self._copies = plan, weights, copies
        self.entries: dict[str, bytes | Path] = {}
        self.left_out: dict[str, Path] = {}
        """Path in the pack -> the file that belongs there and is not packed."""
        self._places: dict[Path, str] = {}
        config = recipe_of(plan).config.model_dump(mode="json", exclude={"extends"})
        self.recipe: dict[str, Any] = self._moved(config, RecipeConfig)
        self.rows = {row.label: self._moved(row.config.model_dump(mode="json"), ArmConfig) for row in plan.rows}

    def _moved(self, raw: dict[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
        moved: dict[str, Any] = map_locations(_portable(raw), schema, recipe_of(self._plan).strategies, self._location)
        return moved

    def _location(self, value: str, mark: LocationMark, schema: type[BaseModel], field: str) -> str:
        location = mark.strip(value)
        prefix = value[: len(value) - len(location)]
        path = Path(location)
        if value in mark.keywords or not path.is_absolute():
            return value
        if (name := name_of(path)) is not None:
            return f"{prefix}{PREFIX}{name}"
        if issubclass(schema, PoolConfig) and (files := files_of_pattern(location)):
            return f"./{self._place_files(path, files)}"
        return f"{prefix}./{self._place(path, schema, field)}" if path.exists() else value

    def _place_files(self, pattern: Path, files: list[Path]) -> str:
        """The pattern, as it names the same files in the pack."""
        root = root_of_pattern(str(pattern))
        if root not in self._places:
            self._places[root] = self._free(f"{INPUTS}/{root.name}")
        for file in files:
            self._add(f"{self._places[root]}/{file.relative_to(root)}", file)
        return f"{self._places[root]}/{pattern.relative_to(root)}"

    def _place(self, path: Path, schema: type[BaseModel], field: str) -> str:
        if path in self._places:
            return self._places[path]
        if schema is RecipeConfig and field == "published":
            self._places[path] = place = self._free(f"published/{path.name}")
            self._published(path, place)
        elif issubclass(schema, PoolConfig) or (issubclass(schema, SelectFields) and field != "template"):
            self._places[path] = place = self._free(f"{INPUTS}/{path.name}")
            self._copy(path, place)
        elif field == "data":
            self._places[path] = place = self._free(f"{INPUTS}/{path.name}")
            for file in self._data_files(path):
                self._add(f"{place}/{file.relative_to(path)}", file)
        elif issubclass(schema, ModelConfig) or field == "judge":
            self._places[path] = place = self._free(f"{INPUTS}/models/{path.name}")
            self._copy(path, place)
        else:
            folder = {"profile": "profiles", "template": "templates", "plugins": "plugins"}.get(field, "prompts")
            folder = "prompts" if issubclass(schema, JudgeConfig) else folder
            self._places[path] = place = self._free(f"{folder}/{path.name}")
            self.entries[place] = self._with_tasks(path) if field == "profile" else path
        return place

    def _copy(self, path: Path, place: str) -> None:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.is_file() and not hidden:
                self._add(place if file == path else f"{place}/{file.relative_to(path)}", file)

    def _add(self, place: str, file: Path) -> None:
        is_packed = self._copies and (self._weights or file.suffix not in WEIGHTS)
        (self.entries if is_packed else self.left_out)[place] = file

    def _with_tasks(self, profile: Path) -> bytes | Path:
        """A profile that names the packed folders of the task YAMLs that it reads; the file where it reads none."""
        content = yaml_text.read(profile, f"profile {profile}")
        is_changed = False
        for name, benchmark in load_profile(str(profile)).benchmarks.items():
            if not isinstance(benchmark, NamedTaskConfig) or benchmark.include_path is None:
                continue
            folder = Path(benchmark.include_path)
            if folder not in self._places:
                self._places[folder] = self._free(f"profiles/{folder.name}")
            found = find_task(benchmark.task, benchmark.include_path)
            for file in found.files:
                if file.resolve().is_relative_to(folder.resolve()):
                    self._add_text_or_data(self._places[folder], file, folder, file in found.data)
                elif file in found.data:
                    self.left_out[str(file)] = file  # read from where it is
            content["benchmarks"][name]["include_path"] = Path(self._places[folder]).name
            is_changed = True
        return yaml_text.dump(content).encode() if is_changed else profile

    def _add_text_or_data(self, place: str, file: Path, folder: Path, is_data: bool) -> None:
        name = f"{place}/{file.resolve().relative_to(folder.resolve())}"
        if is_data:
            self._add(name, file)
        else:
            self.entries[name] = file

    def _data_files(self, data: Path) -> list[Path]:
        """Those that the rows' benchmarks read."""
        recipe, found = recipe_of(self._plan), dict[Path, None]()
        for row in recipe.rows:
            evaluate = row.config.evaluate
            if Path(evaluate.data) != data:
                continue
            for name, benchmark in recipe.profiles[row.arm].benchmarks.items():
                is_chosen = evaluate.benchmarks is None or name in evaluate.benchmarks
                if is_chosen and not isinstance(benchmark, NamedTaskConfig):
                    found.update(dict.fromkeys(data_files(benchmark, data)))
        return list(found)

    def _published(self, path: Path, place: str) -> None:
        """With the profiles that it names by path, which are read from its own folder."""
        text = path.read_text(encoding="utf-8-sig")
        for named in profiles_named(path):
            load_profile(str(path.parent / named))
            own = named
            if Path(named).is_absolute() or ".." in Path(named).parts:
                own = Path(self._free(f"published/{Path(named).name}")).name
                text = text.replace(named, own)
            self.entries[f"published/{Path(own)}"] = path.parent / named
        self.entries[place] = text.encode()

    def _free(self, place: str) -> str:
        """The place, numbered where another file or folder has it."""
        taken = {name.lower() for name in (*self._places.values(), *self.entries)}
        stem, suffix = os.path.splitext(place)
        names = (place if number == 1 else f"{stem}-{number}{suffix}" for number in _from_one())
        return next(name for name in names if name.lower() not in taken)


def _from_one() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


def _portable(raw: Any) -> Any:
    """Without the paths of this machine's programs."""
    if isinstance(raw, dict):
        return {key: _portable(value) for key, value in raw.items() if key not in OF_THIS_MACHINE}
    return [_portable(value) for value in raw] if isinstance(raw, list) else raw


def as_written(path: Path, parents: tuple[Path, ...]) -> dict[str, bytes | Path]:
    """The recipe and its parents as they lie to one another, in the folder `recipe-as-written`."""
    files = [file.resolve() for file in (path, *parents)]
    top = Path(os.path.commonpath([file.parent for file in files]))
    return {f"recipe-as-written/{file.relative_to(top)}": file for file in files}
