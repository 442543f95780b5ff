"""Which tasks a benchmark that ships is asked with, and which files of a data folder it reads.

Reads the task YAMLs of its folder; imports nothing heavy, so that a plan can be made and fingerprinted in no time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import get_args

import yaml

from selectit.config import BenchmarkConfig
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, Release
from selectit.evaluate.benchmarks.registry import benchmark_named, benchmarks
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig


class _NameLoader(yaml.SafeLoader):
    """Reads a task YAML without importing what its `!function` names."""


_NameLoader.add_constructor("!function", lambda loader, node: str(node.value))


@cache
def prompt_forms(benchmark: str) -> tuple[str, ...]:
    """Whose released prompts a benchmark can be asked in, besides its own task's."""
    forms = get_args(get_args(BenchmarkConfig.model_fields["prompts"].annotation)[0])
    return tuple(form for form in forms if benchmarks()[benchmark].task_file(form).is_file())


def needs_tokenizer(benchmark: BenchmarkConfig) -> bool:
    """Whether the text of its prompts depends on the evaluated model's tokenizer."""
    if isinstance(benchmark, NamedTaskConfig):
        return benchmark.chat_template
    return benchmark.chat_template or benchmark.prompts in benchmarks()[benchmark.name].cut_prompts


@cache
def lm_eval_tasks(benchmark: str, prompts: str | None = None) -> dict[str, str]:
    """Task names as a profile spells them (anatomy, word_sorting, finnish) -> lm-eval's; {} without tasks."""
    declared = benchmarks().get(benchmark)
    if declared is None or declared.lm_eval is None or declared.lm_eval.prefix is None:
        return {}
    prefix, names = declared.lm_eval.prefix, declared.lm_eval.names
    group = yaml.load(declared.task_file(prompts).read_text(encoding="utf-8"), Loader=_NameLoader)
    own = [name.removeprefix(prefix) for name in group["task"][0]["task"]]
    return {names.get(name, name): prefix + name for name in own}


def chosen_tasks(benchmark: BenchmarkConfig) -> tuple[str, ...]:
    """The tasks that a profile asks for, all where it names none.

    Raises: UserError for a task that the benchmark does not have.
    """
    allowed = lm_eval_tasks(benchmark.name, benchmark.prompts)
    for task in benchmark.tasks or ():
        if task not in allowed:
            raise UserError(
                f"{benchmark.name} has no task '{task}'.{did_you_mean(task, allowed)} "
                + (f"Its tasks: {', '.join(allowed)}" if allowed else "It has one task; leave `tasks` out")
            )
    return benchmark.tasks or tuple(allowed)


def data_files(benchmark: BenchmarkConfig, data: Path) -> list[Path]:
    """The files of a data folder that a benchmark reads, in a fixed order; optional ones where they are there.

    Raises: UserError naming the first other file that is not there.
    """
    declared = benchmark_named(benchmark.name)
    find = in_data_folder(declared, data)
    tasks = chosen_tasks(benchmark) if any("{task}" in name for name in declared.files) else ("",)
    needed = [find(name.format(task=task)) for task in tasks for name in declared.files]
    optional = [data / declared.folder / name for name in declared.optional_files]
    return needed + [path for path in optional if path.is_file()]


def in_data_folder(benchmark: Benchmark, data: Path) -> Find:
    """What finds a benchmark's files below `data`; of a .gz file the same without .gz, where only that one is there."""

    def find(name: str) -> Path:
        path = data / benchmark.folder / name
        if path.suffix == ".gz" and path.with_suffix("").is_file() and not path.is_file():
            path = path.with_suffix("")
        if not path.is_file():
            raise UserError(
                f"benchmark data is missing: {path}\nPut the file there in its authors' layout (docs/evaluation.md): "
                f"`selectit data fetch --benchmarks {benchmark.folder} --out {data}` where there is internet, or by "
                f"hand; it is published as {benchmark.published_at}. Or set evaluate.data to another folder or to "
                "`hub`, or leave this benchmark or task out of the profile."
            )
        return path

    return find


def refuse_hub(benchmark: Benchmark) -> None:
    """Raises: UserError where the hub has nothing of it that can be graded."""
    if isinstance(benchmark.source, Release):
        raise UserError(
            f"{benchmark.name} is graded with a release of {benchmark.source.publisher}, which the hub does not "
            f"have; set evaluate.data to a folder with it: selectit data fetch --benchmarks {benchmark.name} --out DIR"
        )
