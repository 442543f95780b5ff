"""What is known of one benchmark that ships: evaluate/benchmarks/<folder>/benchmark.py declares it.

A field without a default must be given; what a declaration forgets is refused when it is read. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selectit.evaluate.grading.kinds import Grading

Row = dict[str, Any]
Rows = list[Row]
Find = Callable[[str], Path]
"""(name of a file in the benchmark's folder of `evaluate.data`) -> its path. Raises: UserError where there is none."""
Read = Callable[[Find, str], dict[str, Rows]]
"""(find, `dataset_name` of the task or "") -> {split: rows as the task reads them}"""
ReadHub = Callable[[str | None, str], Rows]
"""(configuration, split) -> rows of the data set on the hub"""


@dataclass(frozen=True)
class HubRows:
    """A data set of the hub whose rows are written in the authors' layout when they are fetched."""

    dataset: str
    to_files: Callable[[ReadHub, Sequence[str]], dict[str, bytes]]
    """(the hub's rows, every task that a form of the prompts asks) -> content by the name in the data folder."""
    to_splits: Callable[[Mapping[str, Sequence[Row]], str], dict[str, Rows]] | None = None
    """(the hub's splits, `dataset_name`) -> splits as the reader gives them; None: the hub's rows are these."""


@dataclass(frozen=True)
class HubFiles:
    """A data set of the hub that holds the authors' own files."""

    dataset: str
    names: Mapping[str, str]
    """Name in the data folder -> name on the hub."""


@dataclass(frozen=True)
class Release:
    """A file that is published elsewhere; the hub has nothing that can be graded."""

    file: str
    url: str
    sha256: str
    publisher: str
    """Whose release it is: evalplus."""


@dataclass(frozen=True)
class Archive:
    """A zip that is published elsewhere and holds the benchmark's optional files."""

    url: str
    sha256: str
    publisher: str
    names: Mapping[str, str]
    """Name in the data folder -> name in the zip."""


@dataclass(frozen=True)
class LmEvalTasks:
    """Tasks of lm-eval that the benchmark's group is over."""

    folder: str
    """Below lm-eval's tasks: indexing all of its 14,683 takes half a minute, a folder a quarter of a second."""
    prefix: str | None = None
    """Of the tasks' names, which a profile leaves out; None: the benchmark is one task, and a profile names none."""
    names: Mapping[str, str] = field(default_factory=dict)
    """A task as lm-eval spells it behind the prefix -> as a profile spells it, where that differs."""
    called: str = "tasks"


@dataclass(frozen=True)
class Shots:
    """Of a benchmark whose number of shots a profile chooses."""

    most: int | None = None
    """Demonstrations of each task; None: that depends on the data."""
    file: str = ""
    """That holds those of {task}, in the split `split`."""
    split: str = ""


@dataclass(frozen=True)
class Size:
    """Of a whole test set; docs/performance.md states where the figures are from."""

    num_tasks: int
    num_items: int
    prompt_tokens: int
    """Mean, by LLaMA-2's tokenizer, with the shots."""
    shared_tokens: int = 0
    """Of these, with which all prompts of a task begin, such as the shots; 0 where there are few or it is not known."""


NOT_MEASURED = "its files were not available where the others were measured"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    name: str
    """In profiles and tables."""
    display_name: str
    """In a paper's table, which shows no underscores."""
    folder: str
    """Here and of its files in `evaluate.data`; several benchmarks may share it."""
    published_at: str
    """Where its authors publish the files."""
    files: tuple[str, ...]
    """That must be there, below the data folder; {task} stands for each task that is asked."""
    optional_files: tuple[str, ...] = ()
    """Without which it is scored, but for one metric."""
    read: Read
    source: HubRows | HubFiles | Release
    grading: Grading
    right_answer: Callable[[Row], str | int | None]
    """As a model with the examples writes it; of choices the place of the right one. None: none is published."""
    size: Size | str
    """A text: why it is not known, so that the price is not."""
    archive: Archive | None = None
    """Fetched with the rest. None: its source has every file."""
    sizes: Mapping[str, Size] = field(default_factory=dict)
    """By form of the prompts, where that changes the items."""
    item_file: str | None = None
    """The file whose lines, list or `examples` are the items, where a file has no others."""
    lm_eval: LmEvalTasks | None = None
    """None: the task is its own."""
    asked_as: str | None = None
    """Another benchmark of the folder that asks the same."""
    shots: Shots | None = None
    """None: fixed by the task."""
    cut_prompts: tuple[str, ...] = ()
    """Forms of the prompts that are cut to a number of tokens of the evaluated model."""
    mean_of: Literal["items", "tasks"] = "items"
    """tasks: the number is the plain mean over tasks; items: every question counts alike."""
    available_tasks: Callable[[Find, int], set[str]] | None = None
    """(find, number of shots) -> the tasks that a data folder has, where it may lack some; None: it must have all."""
    places: Callable[[Mapping[str, Sequence[Any]], Mapping[str, Any]], Sequence[int]] | None = None
    """(columns of the rows that are asked, all splits) -> the place of each in its authors' file, from 0; None: a task
    is a whole file."""

    def __post_init__(self) -> None:
        texts = ("name", "display_name", "folder", "published_at")
        if empty := [name for name in (*texts, "files") if not getattr(self, name)]:
            raise ValueError(f"benchmark {self.name or self.folder}: {', '.join(empty)} must be given")
        if "_" in self.display_name:
            raise ValueError(f"benchmark {self.name}: display_name {self.display_name!r} must have no underscore")

    @property
    def hub(self) -> str | None:
        """Its data set on the hub."""
        return None if isinstance(self.source, Release) else self.source.dataset

    def task_file(self, prompts: str | None = None) -> Path:
        """Args: prompts: the released form of the prompts (`BenchmarkConfig.prompts`); None: the usual one."""
        form = "" if prompts is None else f"_{prompts}"
        return home(self.folder) / f"{self.asked_as or self.name}{form}.yaml"


def home(folder: str) -> Path:
    """Of the declaration, the task files and the README."""
    return Path(__file__).parent / folder
