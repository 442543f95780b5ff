"""How many items a benchmark's own files hold, where they lie in a folder here.

Reads the files of `evaluate.data`; benchmarks of another layout are left to the published counts.
"""

from __future__ import annotations

import csv
import gzip
import json
from functools import cache
from pathlib import Path

from selectit.config import BenchmarkConfig
from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import chosen_tasks, in_data_folder
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig


def items_of_tasks(benchmark: BenchmarkConfig, data: str) -> list[int] | None:
    """Items of each chosen task; None where the data is on the hub, absent or of another layout."""
    if data == "hub" or isinstance(benchmark, NamedTaskConfig):
        return None
    declared = benchmarks()[benchmark.name]
    if declared.item_file is None:
        return None
    find = in_data_folder(declared, Path(data))
    try:
        return [_count(find(declared.item_file.format(task=task))) for task in chosen_tasks(benchmark) or ("",)]
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None  # what is wrong with the file is reported by the preflight


@cache
def _count(path: Path) -> int:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = content.decode("utf-8-sig")
    if path.suffix == ".csv":
        return sum(bool(line) for line in csv.reader(text.splitlines(keepends=True)))
    if path.suffix == ".json" and text.lstrip().startswith("["):
        return len(json.loads(text))
    if path.suffix == ".json" and text.lstrip().startswith("{"):
        try:
            return len(json.loads(text)["examples"])
        except json.JSONDecodeError:  # a line of JSON for each item
            pass
    return sum(bool(line.strip()) for line in text.splitlines())
