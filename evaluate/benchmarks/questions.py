"""One benchmark as lm-eval tasks: built from its folder's YAML, set as the profile asks, and asked to a model.

Reads benchmark data from the hub or a folder. The questions of a profile's `items_per_task` are drawn here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
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
from transformers import PreTrainedTokenizerBase, set_seed

from selectit.config import BenchmarkConfig
from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import (
    chosen_tasks,
    data_files,
    in_data_folder,
    lm_eval_tasks,
    needs_tokenizer,
)
from selectit.evaluate.benchmarks.named_task import BOOTSTRAP_ITERS, generation_settings, load_task, set_up
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.released import ReleasedTask
from selectit.evaluate.benchmarks.task import DataDirTask
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.model.harness import ProgressHook, quiet
from selectit.evaluate.results import CHOICES, Item
from selectit.evaluate.stage_config import EvaluateStage, GradeStage

HUB = "hub"
LM_EVAL_VERSION = version("lm_eval")


@dataclass(frozen=True)
class Questions:
    """The tasks of one benchmark and which of their items are asked."""

    tasks: dict[str, Task]
    groups: dict[str, Group]
    drawn: dict[str, list[int]] | None
    """Task -> item ids in the order in which they were drawn; None: the first `limit` items, or all."""
    limit: int | None
    notes: list[str] = field(default_factory=list)
    """What is missing of the benchmark."""

    def num_items(self, task: str) -> int:
        if self.drawn is not None:
            return len(self.drawn[task])
        return min(len(self.tasks[task].task_docs), self.limit or len(self.tasks[task].task_docs))

    @property
    def samples(self) -> dict[str, list[int]] | None:
        """As lm-eval wants them: it labels the items wrongly in any order but the ascending one."""
        return None if self.drawn is None else {name: sorted(ids) for name, ids in self.drawn.items()}

    def in_order(self, items: Sequence[Item]) -> list[Item]:
        """Items in the order in which they were drawn, task by task, named by their places in the authors' files."""
        found = list(items)
        if self.drawn is not None:
            place = {(name, item_id): at for name, ids in self.drawn.items() for at, item_id in enumerate(ids)}
            tasks = {name: at for at, name in enumerate(dict.fromkeys(item.task for item in items))}
            found.sort(key=lambda item: (tasks[item.task], place[item.task, item.item_id]))
        places = {name: places_in_file(self.tasks[name]) for name in {item.task for item in found}}
        for item in found:
            item.item_id = places[item.task][item.item_id]
        return found

    @property
    def until(self) -> list[str]:
        """Stop strings; none where nothing is generated."""
        settings = next(iter(self.tasks.values())).get_config("generation_kwargs") or {}
        return list(settings.get("until") or [])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of all tasks, whatever is asked of them."""
        return [row for task in self.tasks.values() for row in task.task_docs]

    @property
    def num_requests(self) -> int:
        return sum(self.num_items(name) * _requests_per_item(task) for name, task in self.tasks.items())


def questions_as_items(questions: Questions, benchmark: BenchmarkConfig, with_prompts: bool) -> list[Item]:
    """Every item that is asked, without an answer, in the order of an evaluation's items.

    Args: with_prompts: False, or prompts that a tokenizer goes into: they are left empty.
    """
    with_prompts = with_prompts and not needs_tokenizer(benchmark)
    items = []
    for name, task in questions.tasks.items():
        ids = range(questions.num_items(name)) if questions.drawn is None else sorted(questions.drawn[name])
        for at in ids:
            row = task.task_docs[at]
            target = task.doc_to_target(row)
            if task.OUTPUT_TYPE == "multiple_choice" and isinstance(target, int):
                target = CHOICES[target]
            prompt = ""
            if with_prompts:
                prompt = str(task.fewshot_context(row, num_fewshot=task.get_config("num_fewshot")))
            items.append(Item(name, at, row, prompt, [], None, target, None))
    return questions.in_order(items)


def places_in_file(task: Task) -> Sequence[int]:
    """The place of each of a task's items in its authors' file, counted from 0.

    Most tasks are whole files. A language of TyDiQA is a part of one, and MBPP's tasks 11 to 510 are of one that starts
    with task 1.
    """
    if isinstance(task, DataDirTask):
        benchmark = benchmarks()[task.config.metadata["benchmark"]]
        if benchmark.places is not None:
            return benchmark.places(task.task_docs, task.dataset)
    return range(len(task.task_docs))


def load_questions(config: EvaluateStage | GradeStage, tokenizer: PreTrainedTokenizerBase | None = None) -> Questions:
    """Args:   tokenizer: the evaluated model's; None: no prompt is cut to a number of tokens (`needs_tokenizer`).
    Raises: UserError where data is missing or cannot be fetched.
    """
    benchmark = config.benchmark
    if isinstance(benchmark, NamedTaskConfig):
        return _named_questions(benchmark, config.limit)
    folder = None if config.data == HUB else Path(config.data)
    if folder is not None:
        data_files(benchmark, folder)
    names, notes = _available(benchmark, folder)
    declared = benchmarks()[benchmark.name]
    # lm-eval looks a group's tasks up by name, so both folders are indexed
    folders = [declared.task_file().parent]
    if declared.lm_eval is not None:
        folders.insert(0, Path(lm_eval.tasks.__file__).parent / declared.lm_eval.folder)
    metadata = {
        "benchmark": benchmark.name,
        "data_dir": None if folder is None else str(folder),
        "revision": benchmark.revision,
    }
    with quiet():
        manager = TaskManager(include_defaults=False, include_path=folders, metadata=metadata)
        loaded = manager.load([_specification(benchmark, names)])
    for task in loaded["tasks"].values():
        _set(task, benchmark)
        if isinstance(task, ReleasedTask):
            task.tokenizer = tokenizer
    return _questions(loaded["tasks"], loaded["groups"], benchmark, config.limit, notes)


def _named_questions(benchmark: NamedTaskConfig, limit: int | None) -> Questions:
    loaded = load_task(benchmark)
    for task in loaded.tasks.values():
        set_up(task, benchmark)
    return _questions(loaded.tasks, loaded.groups, benchmark, limit, [])


def _questions(
    tasks: dict[str, Task], groups: dict[str, Group], benchmark: BenchmarkConfig, limit: int | None, notes: list[str]
) -> Questions:
    drawn = _draw(tasks, benchmark, limit)
    if limit is not None:
        notes.append(f"limited to {limit} items per task (evaluate.limit)")
    return Questions(tasks, groups, drawn, None if drawn else limit, notes)


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
            bootstrap_iters=BOOTSTRAP_ITERS,
            apply_chat_template=config.benchmark.chat_template,
            fewshot_as_multiturn=True,
        )


def check_data(benchmark: BenchmarkConfig, folder: Path) -> None:
    """Raises: UserError for a file of a data folder that is not there, a row that lacks something, a task without
    questions, or fewer demonstrations than the profile asks for.
    """
    files = tuple((path, path.stat().st_mtime_ns) for path in data_files(benchmark, folder))
    _check_rows(benchmark.model_copy(update={"notes": ()}), folder, files)


@lru_cache(maxsize=128)
def _check_rows(benchmark: BenchmarkConfig, folder: Path, files: tuple[tuple[Path, int], ...]) -> None:
    """Once for all models that are asked. Args: files: with their times, so that a changed one is read again."""
    _available(benchmark, folder)
    declared, wanted = benchmarks()[benchmark.name], benchmark.num_fewshot or 0
    find, shots = in_data_folder(declared, folder), declared.shots
    one_task = load_yaml(declared.task_file(benchmark.prompts)).get("dataset_name") or ""
    for task in chosen_tasks(benchmark) or (one_task,):
        splits = declared.read(find, task)
        if shots is not None and shots.file and (found := len(splits[shots.split])) < wanted:
            path = find(shots.file.format(task=task))
            raise UserError(f"{path} has {found} demonstrations of {task}, and num_fewshot is {wanted}")
        if not any(rows for split, rows in splits.items() if shots is None or split != shots.split):
            raise UserError(f"{folder / declared.folder} has no question{f' of {task}' if task else ''}")


def _available(benchmark: BenchmarkConfig, folder: Path | None) -> tuple[list[str], list[str]]:
    """lm-eval's names of the tasks that can be run, and notes on those that cannot."""
    wanted, names = chosen_tasks(benchmark), lm_eval_tasks(benchmark.name, benchmark.prompts)
    declared = benchmarks()[benchmark.name]
    if declared.available_tasks is None or folder is None:
        return [names[task] for task in wanted], []
    assert declared.lm_eval is not None
    called = declared.lm_eval.called
    shots = 1 if benchmark.num_fewshot is None else benchmark.num_fewshot
    present = declared.available_tasks(in_data_folder(declared, folder), shots)
    if not present.intersection(wanted):
        raise UserError(
            f"{folder / declared.folder} has no {called.removesuffix('s')} with a question and {shots} "
            f"demonstration(s) among {', '.join(wanted)}. Put the official files there or set num_fewshot: 0 in the "
            "profile."
        )
    missing = [task for task in wanted if task not in present]
    notes = [f"{called} without questions or demonstrations in the data folder: {', '.join(missing)}"]
    return [names[task] for task in wanted if task in present], notes if missing else []


def _specification(benchmark: BenchmarkConfig, names: list[str]) -> str | dict[str, Any]:
    """The task or group of the benchmark's YAML; of a group, the tasks that are run."""
    path = benchmarks()[benchmark.name].task_file(benchmark.prompts)
    config = load_yaml(path)  # lm-eval has no public reader of task files
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
    task.set_config("generation_kwargs", generation_settings(benchmark), update=True)


def _draw(tasks: Mapping[str, Task], benchmark: BenchmarkConfig, limit: int | None) -> dict[str, list[int]] | None:
    """The items that the profile draws, cut at the limit; and where one generator draws, demonstrations after them."""
    size, seed = benchmark.items_per_task, benchmark.sample_seed
    if benchmark.draws == "each_task":
        if size is None:
            return None
        drawn = {name: sample_ids(len(task.task_docs), size, random.Random(seed)) for name, task in tasks.items()}
    else:
        generator = random.Random(seed)
        drawn = {name: sample_ids(len(tasks[name].task_docs), size, generator) for name in sorted(tasks)}
        for name in sorted(tasks):
            if isinstance(task := tasks[name], ReleasedTask):
                task.draw_demonstrations(generator)
    return {name: ids[:limit] for name, ids in drawn.items()}


def sample_ids(num_items: int, size: int | None, generator: random.Random) -> list[int]:
    """Item ids in the order in which they are drawn; all of them, undrawn, where no more than `size` are there."""
    if size is None or num_items <= size:
        return list(range(num_items))
    return generator.sample(range(num_items), size)


def _requests_per_item(task: Task) -> int:
    if task.OUTPUT_TYPE == "multiple_choice":
        return len(task.doc_to_choice(task.task_docs[0]))
    return task.get_config("repeats") or 1
