"""Evaluation profiles: which benchmarks are run, and how.

Reads evaluate/profiles/<name>.yaml or a file of the same form: a `description` and `benchmarks`, whose entries are the
fields of BenchmarkConfig, or of NamedTaskConfig where they name a task of lm-eval. Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selectit import yaml_text
from selectit.config import BenchmarkConfig, as_written
from selectit.config.evaluate import PROFILES
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.files import chosen_tasks, data_files, prompt_forms
from selectit.evaluate.benchmarks.registry import benchmarks, is_judged
from selectit.evaluate.benchmarks.task_config import NOT_OF_TASKS, NamedTaskConfig
from selectit.evaluate.grading.kinds import Grading

__all__ = ["Profile", "data_files", "load_profile"]

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.01, 100.0
"""Outside of which logits overflow, or every token is as probable as any other."""


@dataclass(frozen=True)
class Profile:
    name: str
    description: str
    benchmarks: dict[str, BenchmarkConfig]


def load_profile(name_or_path: str) -> Profile:
    """One of this project's profiles by name, or a YAML file of the same form by path.

    Raises: UserError with every fault of the file, or with the known names.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"evaluate.profile: there is no file {path}")
    elif name_or_path in PROFILES:
        path = Path(str(files("selectit.evaluate") / "profiles" / f"{name_or_path}.yaml"))
    else:
        raise UserError(
            f"evaluate.profile: no profile '{name_or_path}'.{did_you_mean(name_or_path, PROFILES)} "
            f"Known: {', '.join(PROFILES)}; or the path of a YAML file of the same form"
        )
    content, lines = yaml_text.read_with_lines(path, f"profile {name_or_path}")
    return _parse(path, content, lines)


def _parse(path: Path, content: Any, lines: dict[str, int]) -> Profile:
    name = path.name.removesuffix(path.suffix)
    if not isinstance(content, dict) or not isinstance(content.get("benchmarks"), dict) or not content["benchmarks"]:
        raise UserError(
            f"profile {name}: it needs `benchmarks:` with some of {', '.join(benchmarks())}; or {_any_task()}"
        )
    faults = [
        f"{key}: not a key of a profile.{did_you_mean(key, ('description', 'benchmarks'))}"
        for key in map(str, content)
        if key not in ("description", "benchmarks")
    ]
    if not isinstance(content.get("description", ""), str):
        faults.append(f"description: expected text, found {content['description']!r}")
    entries = {}
    for key, entry in content["benchmarks"].items():
        is_named = isinstance(entry, Mapping) and "task" in entry
        benchmark, found = _named_task(str(key), entry, path.parent) if is_named else _benchmark(str(key), entry)
        faults += [f"benchmarks.{key}{fault}" for fault in found]
        if benchmark is not None:
            entries[str(key)] = benchmark
    if faults:
        faults = yaml_text.with_lines(faults, lines)
        raise UserError("\n".join([f"profile {name}:", *(f"  {fault}" for fault in faults)]))
    return Profile(name=name, description=str(content.get("description", "")).strip(), benchmarks=entries)


def _benchmark(key: str, entry: Any) -> tuple[BenchmarkConfig | None, list[str]]:
    if key not in benchmarks():
        known = f"Known: {', '.join(benchmarks())}; or {_any_task(key)}"
        return None, [f": no such benchmark.{did_you_mean(key, benchmarks())} {known}"]
    if not isinstance(entry, Mapping):
        return None, [": needs at least `metric`"]
    if "name" in entry:
        return None, [".name: the key of an entry is its benchmark; leave it out"]
    try:
        benchmark = as_written(BenchmarkConfig, {**entry, "name": key})
        if benchmark.prompts is None or benchmark.prompts in prompt_forms(key):
            chosen_tasks(benchmark)
    except ValidationError as error:
        return None, [_fault(one, BenchmarkConfig) for one in error.errors()]
    except UserError as error:
        return None, [f".tasks: {error}"]
    return benchmark, _contradictions(benchmark)


def _any_task(name: str = "arc_challenge") -> str:
    return f"any task of lm-eval, as an entry such as `{name}: {{task: {name}, metric: 'acc,none'}}`"


def _named_task(key: str, entry: Mapping[str, Any], folder: Path) -> tuple[BenchmarkConfig | None, list[str]]:
    """Args: folder: from which a relative `include_path` is read."""
    if key in benchmarks() and (entry["task"] != key or is_judged(key)):
        return None, [
            f": a benchmark of this project; call an entry with another `task` otherwise, such as {key}_lm_eval"
        ]
    if faults := [f".{one}: not a setting of an entry with `task`" for one in (*NOT_OF_TASKS, "name") if one in entry]:
        return None, faults
    try:
        benchmark = as_written(NamedTaskConfig, {**entry, "name": key})
    except ValidationError as error:
        return None, [_fault(one, NamedTaskConfig) for one in error.errors()]
    if benchmark.include_path is not None:
        include_path = os.path.abspath(folder / Path(benchmark.include_path).expanduser())
        benchmark = benchmark.model_copy(update={"include_path": include_path})
    return benchmark, [*_of_sampling(benchmark), *_twice(benchmark)]


def _fault(error: Any, schema: type[BenchmarkConfig]) -> str:
    if error["loc"] == ("name",):
        return f": {error['input']!r} names a column and a file; use letters, digits, and _ . - inside"
    where = "".join(f".{part}" for part in error["loc"])
    if error["loc"] == ("metric",) and error["type"] == "string_pattern_mismatch":
        return f"{where}: write it as lm-eval reports it, with its filter, such as acc,none (found {error['input']!r})"
    if error["type"] == "extra_forbidden":
        near = did_you_mean(str(error["loc"][0]), schema.model_fields)
        return f"{where}: not a setting of a benchmark.{near}"
    return f"{where}: {error['msg']}" + ("" if error["type"] == "missing" else f" (found {error['input']!r})")


def _contradictions(benchmark: BenchmarkConfig) -> list[str]:
    """Settings that are each valid and make no sense together."""
    declared = benchmarks()[benchmark.name]
    grading, shots = declared.grading, declared.shots
    faults = [*_without_effect(benchmark, grading), *_twice(benchmark)]
    if benchmark.num_fewshot is not None and shots is None:
        faults.append(f".num_fewshot: the shots of {benchmark.name} are fixed by its task; leave it out")
    elif shots is not None and shots.most is not None and (benchmark.num_fewshot or 0) > shots.most:
        faults.append(f".num_fewshot: {benchmark.num_fewshot}, and {benchmark.name} has {shots.most} demonstrations")
    if benchmark.prompts is not None and not (known := prompt_forms(benchmark.name)):
        faults.append(f".prompts: {benchmark.name} has one form of prompts; leave it out")
    elif benchmark.prompts is not None and benchmark.prompts not in known:
        faults.append(f".prompts: {benchmark.name} has no prompts of {benchmark.prompts}; it has {', '.join(known)}")
    elif benchmark.prompts is not None and benchmark.chat_template:
        faults.append(
            f".chat_template: prompts of {benchmark.prompts} are whole; leave out `prompts` for the training template"
        )
    if grading.TAKES_PASS_AT and (most := max(benchmark.pass_at)) > benchmark.num_samples:
        faults.append(f".pass_at: pass@{most} needs num_samples of at least {most}")
    if benchmark.num_samples > 1 and not grading.TAKES_SAMPLES:
        faults.append(f".num_samples: {benchmark.name} is scored on one answer; leave it out")
    elif benchmark.num_samples > 1 and benchmark.temperature == 0:
        faults.append(".temperature: 0 is greedy, all samples would be equal; raise it or set num_samples to 1")
    try:
        metrics = grading.metrics(benchmark)
        grading.grader_name(benchmark)
    except UserError as error:
        return [*faults, f".grader: {error}"]
    if benchmark.metric not in metrics:
        faults.append(f".metric: '{benchmark.metric}' is not one of {', '.join(metrics)}")
    return faults


def _without_effect(benchmark: BenchmarkConfig, grading: Grading) -> list[str]:
    """Settings that were given and that nothing would read."""
    given = benchmark.model_fields_set
    if not grading.GENERATES:
        generation = ("max_gen_toks", "until", "temperature", "top_p", "num_samples")
        named = [name for name in generation if name in given]
        faults = [f".{name}: {benchmark.name} is answered by its choices, nothing is generated" for name in named]
    else:
        faults = _of_sampling(benchmark)
    if "pass_at" in given and not grading.TAKES_PASS_AT:
        faults.append(f".pass_at: {benchmark.name} runs no programs; leave it out")
    return faults


def _of_sampling(benchmark: BenchmarkConfig) -> list[str]:
    faults = []
    if "top_p" in benchmark.model_fields_set and benchmark.top_p < 1 and benchmark.temperature == 0:
        faults.append(f".top_p: {benchmark.top_p:g} is of sampling, and temperature 0 is greedy; leave one of them out")
    if 0 < benchmark.temperature < _LOWEST_TEMPERATURE or benchmark.temperature > _HIGHEST_TEMPERATURE:
        faults.append(
            f".temperature: {benchmark.temperature:g}; 0 is greedy, and samples are drawn from "
            f"{_LOWEST_TEMPERATURE:g} to {_HIGHEST_TEMPERATURE:g}"
        )
    return faults


def _twice(benchmark: BenchmarkConfig) -> list[str]:
    lists: dict[str, tuple[Any, ...]] = {
        "tasks": benchmark.tasks or (), "until": benchmark.until or (), "pass_at": benchmark.pass_at,
    }  # fmt: skip
    faults = []
    for name, values in lists.items():
        if repeated := [repr(one) for one in dict.fromkeys(values) if values.count(one) > 1]:
            faults.append(f".{name}: {', '.join(repeated)} twice; name each once")
    return faults
