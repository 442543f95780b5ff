"""MBPP: its authors' prompt with three examples; completions are run against each task's asserts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import NOT_MEASURED, Benchmark, Find, HubRows, ReadHub, Row, Rows
from selectit.evaluate.benchmarks.rows import as_lines, only, rows_with
from selectit.evaluate.grading.kinds import Programs
from selectit.evaluate.grading.sandbox import Program

HUB = "google-research-datasets/mbpp"
KEYS = ("task_id", "text", "code", "test_list", "test_setup_code")

TRUTH_OF_A_MATCH = """

def _plain(function):
    import re

    def call(*arguments, **keywords):
        value = function(*arguments, **keywords)
        return bool(value) if isinstance(value, re.Match) else value

    return call


{name} = _plain({name})
"""
"""A few of MBPP's solutions return a match of `re`, of which their tests ask only whether there is one."""


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find("mbpp.jsonl")
    return _splits(rows_with(path, read_jsonl(path), KEYS), str(path))


def _splits(rows: Iterable[Row], where: str) -> dict[str, Rows]:
    """Tasks 11 to 510 are the test set, 2 to 4 the examples of the prompt. Source: Austin et al. 2021.

    Raises: UserError where one of the two is not there.
    """
    rows = list(rows)
    splits = {
        "prompt": [row for row in rows if row["task_id"] in (2, 3, 4)],
        "test": [row for row in rows if 11 <= row["task_id"] <= 510],
    }
    if len(splits["prompt"]) != 3 or not splits["test"]:
        raise UserError(f"{where}: needs the tasks 2, 3 and 4, which stand in the prompt, and some of 11 to 510")
    return splits


def _of_hub(splits: Mapping[str, Sequence[Row]], _: str) -> dict[str, Rows]:
    """The hub's split prompt has ten tasks, of which three are in the prompt."""
    return _splits([row for split in ("prompt", "test") for row in splits[split]], HUB)


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    return {"mbpp.jsonl": as_lines(only([*read_hub("full", "prompt"), *read_hub("full", "test")], *KEYS))}


def _program(row: Mapping[str, Any], completion: str) -> Program:
    name = entry_point_of(row)
    lines = "\n".join(row["test_list"]).splitlines()
    test = "\n".join(["def check(candidate):", *(f"    {line}" for line in lines)])
    return Program(row["test_setup_code"], f"\n{completion}{TRUTH_OF_A_MATCH.format(name=name)}", test, name)


def entry_point_of(row: Mapping[str, Any]) -> str:
    """The function of a solution that its tests call; by pattern, for not every row need be today's Python."""
    defined = re.findall(r"^def\s+(\w+)", row["code"], re.MULTILINE)
    called = [name for test in row["test_list"] for name in re.findall(r"(\w+)\s*\(", test)]
    return next((name for name in called if name in defined), (defined or ["solution"])[-1])


BENCHMARKS = (
    Benchmark(
        name="mbpp",
        display_name="MBPP",
        folder="mbpp",
        published_at="mbpp/mbpp.jsonl of github.com/google-research/google-research",
        files=("mbpp.jsonl",),
        read=_read,
        source=HubRows(HUB, _to_files, _of_hub),
        grading=Programs(_program),
        right_answer=lambda row: str(row["code"].replace("\r", "")),
        size=NOT_MEASURED,
        places=lambda asked, _: [task_id - 1 for task_id in asked["task_id"]],
    ),
)
