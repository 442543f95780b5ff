"""The entry of a profile that names a task or a group of lm-eval, and what it is made of in a fingerprint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

from selectit.config import BenchmarkConfig
from selectit.config.schema import Contents, Seed, execution
from selectit.evaluate.benchmarks.task_files import find_task
from selectit.evaluate.benchmarks.task_yamls import lm_eval_folder

NOT_OF_TASKS = ("tasks", "draws", "prompts", "num_samples", "pass_at", "grader", "commits")
"""Fields that an entry with `task` cannot have."""


class NamedTaskConfig(BenchmarkConfig):
    """How any task of lm-eval is run: an entry with `task`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The key of the entry: the column's name."""
    task: str = Field(min_length=1)
    """A task or a group, as lm-eval names it. Stands for its files and data in the fingerprint."""
    include_path: str | None = execution(None, min_length=1)
    """Folder of task YAMLs of your own; a relative one is read from the profile's folder."""
    metric: str = Field(pattern=r"^[^,]+,[^,]+$")
    """As lm-eval reports it, with the name of the filter: acc_norm,none."""
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    """The metric's value of a perfect result, by which it is divided: 100 for metrics in points."""
    sample_seed: Seed = 1234
    """Of the shots and of a sample of items; the default is lm-eval's."""
    commits: tuple[tuple[str, str], ...] = execution(())
    """Data set of the hub -> the commit that is read; set when the stage is run."""

    def contents(self, field: str) -> Contents | None:
        if field != "task":
            return None
        found = find_task(self.task, self.include_path)
        roots = [os.path.realpath(root) for root in (self.include_path, lm_eval_folder()) if root is not None]
        return Contents(
            value={"name": self.task, "lm_eval": version("lm_eval")},
            files=_by_name(found.files, roots),
            datasets=tuple((name, revision or self.revision) for name, revision in found.datasets),
            cure=f"For a machine without internet, load {self.task} once where there is some, with this machine's "
            "HF_HOME (selectit validate RECIPE --inputs), and write the commit that it shows into the entry's "
            "`revision`; or write its rows to a file and name that in a task YAML of your own (`dataset_path: json`, "
            "found with include_path).",
        )


def _by_name(paths: Sequence[Path], roots: Sequence[str]) -> dict[str, Path]:
    """Files by their names below the folder they are found in, so that a copy of that folder is the same task."""
    found: dict[str, Path] = {}
    for path in paths:
        real = os.path.realpath(path)
        inside = (os.path.relpath(real, root) for root in roots if os.path.commonpath([real, root]) == root)
        name = next(inside, path.name)
        found[name if name not in found else f"{name} {len(found)}"] = path
    return found
