"""The benchmarks that ship, found in the folders next to this file. Imports nothing heavy."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.benchmark import Benchmark, home
from selectit.evaluate.grading.kinds import Judged


@cache
def benchmarks() -> dict[str, Benchmark]:
    """By name, in the order of their folders. A declaration that is not whole raises what it lacks."""
    found: dict[str, Benchmark] = {}
    for path in sorted(home("").glob("*/benchmark.py")):
        folder = path.parent.name
        for one in import_module(f"selectit.evaluate.benchmarks.{folder}.benchmark").BENCHMARKS:
            assert one.folder == folder and one.name not in found, f"{path}: folder {one.folder}, name {one.name}"
            assert one.task_file().is_file(), f"{path}: there is no {one.task_file()}"
            found[one.name] = one
    return found


def benchmark_named(name: str) -> Benchmark:
    """Raises: UserError with the known names."""
    if (found := benchmarks().get(name)) is None:
        raise UserError(f"no benchmark '{name}'.{did_you_mean(name, benchmarks())} Known: {', '.join(benchmarks())}")
    return found


def names_in(folder: str) -> list[str]:
    """The benchmarks of a folder that ask something of their own."""
    return [name for name, one in benchmarks().items() if one.folder == folder and one.asked_as is None]


def is_judged(name: str) -> bool:
    """Whether a judge compares its answers; False too for an entry that names a task of lm-eval."""
    return name in benchmarks() and isinstance(benchmarks()[name].grading, Judged)
