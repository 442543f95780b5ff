"""One benchmark as lm-eval tasks: built from evaluate/tasks/*.yaml, set as the profile says, and asked to a model.

Reads benchmark data from the hub or a folder. The questions of a profile's `items_per_task` are drawn here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.api.group import Group
from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import set_seed

from selectit.config import BenchmarkConfig, EvaluateStage
from selectit.errors import UserError
from selectit.evaluate.files import chosen_tasks, data_files, lm_eval_tasks, task_file
from selectit.evaluate.harness import ProgressHook, quiet
from selectit.evaluate.readers import tydiqa_languages

HUB = "hub"
LM_EVAL_VERSION = version("lm_eval")

# all of lm-eval's 14,683 tasks take half a minute to index; these folders take a quarter of a second
_STOCK_FOLDERS = {
    "mmlu": "mmlu/default", "mmlu_medical": "mmlu/default", "bbh": "bbh/cot_fewshot", "gsm8k": "gsm8k",
    "tydiqa": "tydiqa", "medqa": "medqa", "medmcqa": "medmcqa",
}  # fmt: skip


@dataclass(frozen=True)
class Questions:
    """The tasks of one benchmark and which of their items are asked."""

    tasks: dict[str, Task]
    groups: dict[str, Group]
    samples: dict[str, list[int]] | None
    """Task -> sorted item ids; None: the first `limit` items, or all."""
    limit: int | None
    notes: list[str] = field(default_factory=list)
    """What is missing of the benchmark."""

    def num_items(self, task: str) -> int:
        if self.samples is not None:
            return len(self.samples[task])
        return min(len(self.tasks[task].task_docs), self.limit or len(self.tasks[task].task_docs))

    @property
    def num_requests(self) -> int:
        return sum(self.num_items(name) * _requests_per_item(task) for name, task in self.tasks.items())


def load_questions(config: EvaluateStage) -> Questions:
    """Raises: UserError where data is missing or cannot be fetched."""
    benchmark = config.benchmark
    folder = None if config.data == HUB else Path(config.data)
    if folder is not None:
        data_files(benchmark, folder)
    names, notes = _available(benchmark, folder)
    # lm-eval looks a group's tasks up by name, so both folders are indexed
    folders = [task_file(benchmark.name).parent]
    if benchmark.name in _STOCK_FOLDERS:
        folders.insert(0, Path(lm_eval.tasks.__file__).parent / _STOCK_FOLDERS[benchmark.name])
    with quiet():
        manager = TaskManager(
            include_defaults=False,
            include_path=folders,
            metadata={"data_dir": None if folder is None else str(folder), "revision": benchmark.revision},
        )
        loaded = manager.load([_specification(benchmark, names)])
    for task in loaded["tasks"].values():
        _set(task, benchmark)
    samples = _draw(loaded["tasks"], benchmark, config.limit)
    if config.limit is not None:
        notes.append(f"limited to {config.limit} items per task (evaluate.limit)")
    return Questions(loaded["tasks"], loaded["groups"], samples, None if samples else config.limit, notes)


def ask(lm: LM, questions: Questions, config: EvaluateStage, advance: Callable[[int], None]) -> dict[str, Any]:
    """lm-eval's results, with one sample per item and filter."""
    with quiet():
        set_seed(config.seed)
        lm.set_cache_hook(ProgressHook(advance))
        return evaluate(
            lm,
            {"tasks": questions.tasks, "groups": questions.groups},
            limit=questions.limit,
            samples=questions.samples,
            apply_chat_template=config.benchmark.chat_template,
            fewshot_as_multiturn=True,
        )


def _available(benchmark: BenchmarkConfig, folder: Path | None) -> tuple[list[str], list[str]]:
    """lm-eval's names of the tasks that can be run, and notes on those that cannot."""
    wanted = chosen_tasks(benchmark)
    if benchmark.name != "tydiqa" or folder is None:
        return [lm_eval_tasks(benchmark.name)[task] for task in wanted], []
    present = tydiqa_languages(folder, _num_fewshot(benchmark))
    if not present.intersection(wanted):
        raise UserError(
            f"{folder / 'tydiqa'} has no language with a question and {_num_fewshot(benchmark)} demonstration(s) "
            f"among {', '.join(wanted)}. Put the official files there or set num_fewshot: 0 in the profile."
        )
    missing = [language for language in wanted if language not in present]
    notes = [f"languages without questions or demonstrations in the data folder: {', '.join(missing)}"]
    return [lm_eval_tasks("tydiqa")[language] for language in wanted if language in present], notes if missing else []


def _num_fewshot(benchmark: BenchmarkConfig) -> int:
    return 1 if benchmark.num_fewshot is None else benchmark.num_fewshot


def _specification(benchmark: BenchmarkConfig, names: list[str]) -> str | dict[str, Any]:
    """The task or group of evaluate/tasks/<benchmark>.yaml; of a group, the tasks that are run."""
    config = load_yaml(task_file(benchmark.name))
    if "group" not in config:
        return config["task"]
    members = {key: value for key, value in config["task"][0].items() if key != "group"}
    return {**config, "task": [{**members, "task": name} for name in names or members["task"]]}


def _set(task: Task, benchmark: BenchmarkConfig) -> None:
    if benchmark.num_fewshot is not None:
        task.set_config("num_fewshot", benchmark.num_fewshot)
    elif task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(benchmark.sample_seed)
    task.set_config("repeats", benchmark.num_samples)
    if task.get_config("output_type") != "generate_until":
        return
    settings: dict[str, Any] = {"do_sample": benchmark.temperature > 0, "temperature": benchmark.temperature}
    if benchmark.temperature > 0:
        settings["top_p"] = benchmark.top_p
    if benchmark.max_gen_toks is not None:
        settings["max_gen_toks"] = benchmark.max_gen_toks
    if benchmark.until is not None:
        settings["until"] = list(benchmark.until)
    task.set_config("generation_kwargs", settings, update=True)


def _draw(tasks: dict[str, Task], benchmark: BenchmarkConfig, limit: int | None) -> dict[str, list[int]] | None:
    if benchmark.items_per_task is None:
        return None
    return {
        name: sample_ids(len(task.task_docs), benchmark.items_per_task, benchmark.sample_seed)[:limit]
        for name, task in tasks.items()
    }


def sample_ids(num_items: int, size: int, seed: int) -> list[int]:
    """A uniform sample of item ids, in ascending order: lm-eval labels the items wrongly in any other."""
    return sorted(random.Random(seed).sample(range(num_items), min(size, num_items)))


def _requests_per_item(task: Task) -> int:
    if task.OUTPUT_TYPE == "multiple_choice":
        return len(task.doc_to_choice(task.task_docs[0]))
    return task.get_config("repeats") or 1
