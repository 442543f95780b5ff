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
from selectit.evaluate.benchmarks.files import (
    BENCHMARKS,
    CHOICE,
    CODE,
    COMET,
    EXPORTED,
    MATHEMATICS,
    TRANSLATION,
    chosen_tasks,
    data_files,
    prompt_forms,
)
from selectit.evaluate.benchmarks.task_config import NOT_OF_TASKS, NamedTaskConfig
from selectit.evaluate.grading.graders import GRADERS, grader_name

__all__ = ["Profile", "data_files", "load_profile"]

_OWN_SHOTS = ("mmlu", "mmlu_medical", "tydiqa")
"""Benchmarks whose number of shots can be chosen; the others fix theirs in the task."""
_NUM_DEMONSTRATIONS = {"mmlu": 5, "mmlu_medical": 5}
"""Of a subject: its dev file. TyDiQA's depend on the language and the data, and are counted before anything runs."""
_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.01, 100.0
"""Outside of which logits overflow, or every token is as probable as any other."""
_PASS_AT_K = (*CODE, *EXPORTED)
_SAMPLED = (*_PASS_AT_K, *MATHEMATICS)
"""Benchmarks that take several samples of an item."""


_METRICS = {
    "mmlu": ("acc",),
    "alpaca_eval": ("win_rate",),
    "alpaca_eval_2": ("win_rate",),
    "arena_hard": ("win_rate",),
    **dict.fromkeys(TRANSLATION, ("bleu", "chrf")),
    **dict.fromkeys(COMET, ("comet",)),
    "medqa": ("acc",),
    "medmcqa": ("acc",),
    "mmlu_medical": ("acc",),
}
"""What may stand in the table; those of benchmarks that are sampled follow from `pass_at` and `num_samples`, those of
answers that are read out of texts from the grader."""


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
            f"profile {name}: it needs `benchmarks:` with some of {', '.join(BENCHMARKS)}; or {_any_task()}"
        )
    faults = [
        f"{key}: not a key of a profile.{did_you_mean(key, ('description', 'benchmarks'))}"
        for key in map(str, content)
        if key not in ("description", "benchmarks")
    ]
    if not isinstance(content.get("description", ""), str):
        faults.append(f"description: expected text, found {content['description']!r}")
    benchmarks = {}
    for key, entry in content["benchmarks"].items():
        is_named = isinstance(entry, Mapping) and "task" in entry
        benchmark, found = _named_task(str(key), entry, path.parent) if is_named else _benchmark(str(key), entry)
        faults += [f"benchmarks.{key}{fault}" for fault in found]
        if benchmark is not None:
            benchmarks[str(key)] = benchmark
    if faults:
        faults = yaml_text.with_lines(faults, lines)
        raise UserError("\n".join([f"profile {name}:", *(f"  {fault}" for fault in faults)]))
    return Profile(name=name, description=str(content.get("description", "")).strip(), benchmarks=benchmarks)


def _benchmark(key: str, entry: Any) -> tuple[BenchmarkConfig | None, list[str]]:
    if key not in BENCHMARKS:
        known = f"Known: {', '.join(BENCHMARKS)}; or {_any_task(key)}"
        return None, [f": no such benchmark.{did_you_mean(key, BENCHMARKS)} {known}"]
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
    if key in BENCHMARKS:
        return None, [f": a benchmark of this project; call an entry with `task` otherwise, such as {key}_lm_eval"]
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
    faults = [*_without_effect(benchmark), *_twice(benchmark)]
    if benchmark.num_fewshot is not None and benchmark.name not in _OWN_SHOTS:
        faults.append(f".num_fewshot: the shots of {benchmark.name} are fixed by its task; leave it out")
    elif (most_shots := _NUM_DEMONSTRATIONS.get(benchmark.name)) and (benchmark.num_fewshot or 0) > most_shots:
        faults.append(f".num_fewshot: {benchmark.num_fewshot}, and {benchmark.name} has {most_shots} demonstrations")
    if benchmark.prompts is not None and not (known := prompt_forms(benchmark.name)):
        faults.append(f".prompts: {benchmark.name} has one form of prompts; leave it out")
    elif benchmark.prompts is not None and benchmark.prompts not in known:
        faults.append(f".prompts: {benchmark.name} has no prompts of {benchmark.prompts}; it has {', '.join(known)}")
    elif benchmark.prompts is not None and benchmark.chat_template:
        faults.append(
            f".chat_template: prompts of {benchmark.prompts} are whole; leave out `prompts` for the training template"
        )
    if benchmark.name in _PASS_AT_K and (most := max(benchmark.pass_at)) > benchmark.num_samples:
        faults.append(f".pass_at: pass@{most} needs num_samples of at least {most}")
    if benchmark.num_samples > 1 and benchmark.name not in _SAMPLED:
        faults.append(f".num_samples: {benchmark.name} is scored on one answer; leave it out")
    elif benchmark.num_samples > 1 and benchmark.temperature == 0:
        faults.append(".temperature: 0 is greedy, all samples would be equal; raise it or set num_samples to 1")
    try:
        metrics = _metrics(benchmark)
    except UserError as error:
        return [*faults, f".grader: {error}"]
    if benchmark.metric not in metrics:
        faults.append(f".metric: '{benchmark.metric}' is not one of {', '.join(metrics)}")
    return faults


def _without_effect(benchmark: BenchmarkConfig) -> list[str]:
    """Settings that were given and that nothing would read."""
    given = benchmark.model_fields_set
    if benchmark.name in CHOICE:
        generation = ("max_gen_toks", "until", "temperature", "top_p", "num_samples")
        named = [name for name in generation if name in given]
        faults = [f".{name}: {benchmark.name} is answered by its choices, nothing is generated" for name in named]
    else:
        faults = _of_sampling(benchmark)
    if "pass_at" in given and benchmark.name not in _PASS_AT_K:
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


def _metrics(benchmark: BenchmarkConfig) -> tuple[str, ...]:
    if benchmark.name in MATHEMATICS:
        return (f"avg@{benchmark.num_samples}",)
    if benchmark.name in _PASS_AT_K:
        return tuple(f"pass@{k}" for k in benchmark.pass_at)
    if (grader := grader_name(benchmark)) is not None:
        return GRADERS[grader].metrics
    return _METRICS[benchmark.name]
