"""Any task or group of lm-eval by name: loaded as a profile's entry sets it, and scored with lm-eval's own metrics.

Reads task YAMLs and their data, from the hub or from files. What it takes of an entry is checked in task_check.py.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

from selectit.config import BenchmarkConfig
from selectit.errors import UserError
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.benchmarks.task_files import TaskFiles, find_task
from selectit.evaluate.grading.grade import answers_sha256
from selectit.evaluate.grading.graders import grader_of
from selectit.evaluate.grading.health import answer_health
from selectit.evaluate.grading.metrics import task_numbers
from selectit.evaluate.model.harness import quiet
from selectit.evaluate.results import BenchmarkResult, Item, Metric, count_outcomes, mean_metric
from selectit.store.names import TASK_FILE

BOOTSTRAP_ITERS = 1000
"""Of lm-eval's standard errors of metrics that are not means; those of means need none."""
DEFAULT_MAX_GEN_TOKS = 256
"""lm-eval's, where neither the task nor the entry has a limit."""
NO_ANSWER = "[invalid]"
"""What lm-eval's filters give where they read nothing out of a text."""


@dataclass(frozen=True)
class LoadedTask:
    tasks: dict[str, Task]
    groups: dict[str, Group]


def load_task(benchmark: NamedTaskConfig) -> LoadedTask:
    """Raises: UserError where its definition or its data cannot be read, with what to do."""
    files = find_task(benchmark.task, benchmark.include_path)
    own = None if benchmark.include_path is None else Path(benchmark.include_path).resolve()
    folders = {path.parent for path in files.defining if own is None or not path.is_relative_to(own)}
    roots = [*sorted(folders), *([own] if own is not None else [])]  # of a name in several, lm-eval takes the last
    try:
        with quiet(), _data_at(benchmark):
            loaded = TaskManager(include_defaults=False, include_path=roots).load([benchmark.task])
    except ModuleNotFoundError as error:
        raise UserError(
            f"the task {benchmark.task} of lm-eval needs the Python package {error.name}: pip install {error.name}"
        ) from error
    except Exception as error:  # its Python code and `datasets` may raise anything
        raise UserError(_not_loaded(benchmark.task, files, error)) from error
    return LoadedTask(loaded["tasks"], loaded["groups"])


def _not_loaded(task: str, files: TaskFiles, error: Exception) -> str:
    why = "; ".join(_in_one_line(one) for one in (error, error.__cause__) if one is not None)
    if not files.datasets:
        return f"the task {task} of lm-eval cannot be loaded ({why}); it is defined in {files.defining[0]}"
    names = ", ".join(name for name, _ in files.datasets)
    return (
        f"the task {task} of lm-eval cannot be loaded ({why}). Its data is on the hub: {names}. Load it once where "
        "there is internet, with this machine's HF_HOME: `selectit validate RECIPE --inputs`; or write its rows to a "
        "file and name that in a YAML of your own (`dataset_path: json`, found with include_path)"
    )


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, StopIteration):
        return "a split of its data has no rows"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextlib.contextmanager
def _data_at(benchmark: NamedTaskConfig) -> Iterator[None]:
    """Data sets of the hub at their commits; relative data files are read from the folder of the user's YAMLs."""
    load, commits = datasets.load_dataset, dict(benchmark.commits)

    def load_at_commit(path: str, *args: Any, **options: Any) -> Any:
        if path in commits and options.get("revision") is None:
            options["revision"] = commits[path]
        return load(path, *args, **options)

    datasets.load_dataset = load_at_commit
    try:
        with contextlib.chdir(benchmark.include_path or "."):
            yield
    finally:
        datasets.load_dataset = load


def set_up(task: Task, benchmark: NamedTaskConfig) -> None:
    """Set shots and generation as the entry has them; what it leaves out stays as the task has it."""
    if benchmark.num_fewshot is not None:
        task.set_config("num_fewshot", benchmark.num_fewshot)
    task.set_fewshot_seed(benchmark.sample_seed)
    if (own := task.get_config("generation_kwargs")) is None:
        return
    settings = {key: value for key, value in own.items() if key not in ("num_beams", "top_p")}
    settings["max_gen_toks"] = settings.pop("max_new_tokens", settings.pop("max_gen_toks", DEFAULT_MAX_GEN_TOKS))
    task.set_config("generation_kwargs", settings | generation_settings(benchmark))


def generation_settings(benchmark: BenchmarkConfig) -> dict[str, Any]:
    """What an entry of a profile sets of lm-eval's generation_kwargs."""
    settings: dict[str, Any] = {"do_sample": benchmark.temperature > 0, "temperature": benchmark.temperature}
    if benchmark.temperature > 0:
        settings["top_p"] = benchmark.top_p
    if benchmark.max_gen_toks is not None:
        settings["max_gen_toks"] = benchmark.max_gen_toks
    if benchmark.until is not None:
        settings["until"] = list(benchmark.until)
    return settings


def write_task(tasks: Mapping[str, Task], benchmark: NamedTaskConfig, out: Path) -> None:
    """The task as lm-eval has it: its settings, with what the entry sets, and the commits of its data sets."""
    described = {
        "task": benchmark.task, "lm_eval": version("lm_eval"), "datasets": dict(benchmark.commits),
        "configs": {name: task.dump_config() for name, task in tasks.items()},
    }  # fmt: skip
    text = json.dumps(described, indent=2, ensure_ascii=False, default=_source)
    (out / TASK_FILE).write_text(text + "\n", encoding="utf-8")


def _source(value: Any) -> str:
    """Of a function of a task's Python code; others by their name."""
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):
        return str(value)


def untracked_notes(benchmark: NamedTaskConfig) -> list[str]:
    found = find_task(benchmark.task, benchmark.include_path)
    return [f"not part of the fingerprint, so a change of it is not seen: {one}" for one in found.untracked]


def data_set(benchmark: NamedTaskConfig) -> dict[str, str | None] | None:
    """Of a task with one data set of the hub; lm_eval_task.json names all."""
    if len(benchmark.commits) != 1:
        return None
    ((name, commit),) = benchmark.commits
    return {"hub": name, "revision": commit}


def leave_room(tasks: Mapping[str, Task], context_tokens: int) -> list[str]:
    """At most half of the context for new tokens, so that a prompt fits; notes where that lowers a task's own limit."""
    lowered: dict[tuple[int, int], None] = {}
    for task in tasks.values():
        settings = task.get_config("generation_kwargs") or {}
        if (wanted := settings.get("max_gen_toks", 0)) > (most := context_tokens // 2):
            task.set_config("generation_kwargs", {**settings, "max_gen_toks": most})
            lowered[wanted, most] = None
    return [
        f"max_gen_toks lowered from {wanted} to {most}: the model's context has {context_tokens} tokens"
        for wanted, most in lowered
    ]


def read_task_items(results: Mapping[str, Any], tasks: Mapping[str, Task], benchmark: NamedTaskConfig) -> list[Item]:
    """One item of every document, scored with the entry's metric.

    Args: results: lm-eval's; of its samples, those of the metric's filter.
    """
    metric, _, chosen_filter = benchmark.metric.rpartition(",")
    return [
        _item(tasks[name], sample, metric, benchmark.scale)
        for name, samples in results["samples"].items()
        for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        if sample["filter"] == chosen_filter
    ]


def _item(task: Task, sample: Mapping[str, Any], metric: str, scale: float) -> Item:
    doc = sample["doc"] if isinstance(sample["doc"], dict) else {}
    ids = {key: doc[key] for key in ("task_id", "id") if isinstance(doc.get(key), str | int)}
    item = Item(
        task=task.task_name, item_id=sample["doc_id"], doc=ids, prompt=str(sample["arguments"][0][0]), outputs=[],
        answer=None, target=_plain(sample["target"]), score=None,
    )  # fmt: skip
    text = task.doc_to_text(sample["doc"])
    if isinstance(text, str) and (start := item.prompt.rfind(text.strip())) > 0:
        item.details["own_text_at"] = start  # shots are drawn anew for every item, so prompts do not begin alike
    value = sample.get(metric)
    if isinstance(value, bool | int | float | np.number) and math.isfinite(value):
        item.score = float(value) / scale
    responses = [response for request in sample["resps"] for response in request]
    if task.OUTPUT_TYPE == "multiple_choice":
        _read_choice(item, task, sample, metric)
    elif all(isinstance(response, str) for response in responses):
        item.outputs = responses
        read = sample["filtered_resps"][0]
        if isinstance(read, str):
            item.outcomes = ["unparsed" if read == NO_ANSWER else "read"] if _filters_texts(task) else []
            item.answer = None if item.outcomes == ["unparsed"] else read
    else:
        values = [response[0] if isinstance(response, tuple) else response for response in responses]
        item.outputs = values if all(isinstance(value, float) for value in values) else [str(value) for value in values]
    return item


def _filters_texts(task: Task) -> bool:
    """Whether its filters read answers out of texts, and report where there is none."""
    steps = [step for filter_ in task.get_config("filter_list") or () for step in filter_["filter"]]
    return any("regex" in str(step.get("function")) and step.get("fallback", NO_ANSWER) == NO_ANSWER for step in steps)


def _read_choice(item: Item, task: Task, sample: Mapping[str, Any], metric: str) -> None:
    """The choice that lm-eval's metric takes: the most probable one, by character or byte if the metric is."""
    choices = [str(choice) for choice in task.doc_to_choice(sample["doc"])]
    item.outputs = [response[0][0] for response in sample["resps"]][: len(choices)]
    sizes = [1.0] * len(choices)
    if metric == "acc_norm":
        sizes = [float(len(choice)) for choice in choices]
    elif metric == "acc_bytes":
        sizes = [float(len(choice.encode())) for choice in choices]
    values = [value / max(size, 1.0) for value, size in zip(item.outputs, sizes, strict=True)]
    item.answer = choices[values.index(max(values))]
    item.details["choices"] = choices
    gold = task.doc_to_text(sample["doc"]) if getattr(task, "multiple_input", 0) else sample["target"]
    golds = gold if isinstance(gold, list) else [gold]
    named = [choices[one] if isinstance(one, int) and 0 <= one < len(choices) else str(one) for one in golds]
    item.target = named if isinstance(gold, list) else named[0]


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def score_task(
    result: BenchmarkResult, items: Sequence[Item], answers: Mapping[str, Any], benchmark: NamedTaskConfig
) -> None:
    """Take lm-eval's numbers into the result: the value, its standard error and the other metrics."""
    result.num_items = len(items)
    result.grader = grader_of(benchmark)
    result.answers_sha256 = answers_sha256(items)
    result.answer_health = answer_health(items)
    result.outcomes = count_outcomes(items)
    result.tasks = task_numbers(items)
    for name in result.tasks:
        result.tasks[name] |= {metric: one.value for metric, one in _metrics(answers["results"][name], items).items()}
    result.notes += _undecided(items)
    found = _metrics(answers["results"][benchmark.task], items)
    found[benchmark.metric] = _scaled(found[benchmark.metric], items, benchmark.scale)
    outside = [item for item in items if item.score is not None and not 0 <= item.score <= 1 + 1e-9]
    if outside or not 0 <= found[benchmark.metric].value <= 1 + 1e-9:
        first = f"item {outside[0].item_id} of {outside[0].task}" if outside else "all items together"
        result.metrics = found
        result.reason = (
            f"{benchmark.metric} is outside of 0 to `scale` ({benchmark.scale:g}) on {first}; write the metric's value "
            "of a perfect result as `scale`"
        )
        return
    result.score(found)


def _undecided(items: Sequence[Item]) -> list[str]:
    count = sum("choices" in item.details and len(set(item.outputs)) == 1 for item in items)
    note = f"of {count} of {len(items)} items all choices are equally probable; lm-eval takes the first of them"
    return [note] if count else []


def _scaled(chosen: Metric, items: Sequence[Item], scale: float) -> Metric:
    """As shares; with the standard error of a mean over items where lm-eval has none and the value is that mean."""
    value, stderr = chosen.value / scale, None if chosen.stderr is None else chosen.stderr / scale
    scores = [item.score for item in items if item.score is not None]
    if stderr is None and len(scores) == len(items) and math.isclose(mean_metric(scores).value, value):
        stderr = mean_metric(scores).stderr
    return Metric(value, stderr, len(items))


def _metrics(numbers: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Metric]:
    """Of lm-eval's results of one task or group: `acc,none` and `acc_stderr,none`."""
    found = {}
    for name, value in numbers.items():
        metric, comma, filter_ = name.rpartition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = numbers.get(f"{metric}_stderr,{filter_}")
            stderr = float(error) if isinstance(error, int | float) else None
            found[name] = Metric(float(value), stderr, numbers.get("sample_len", len(items)))
    return found
