"""evalplus' benchmarks: its release files, and the program that runs base and plus tests of a completion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from selectit.data.jsonl import read_jsonl
from selectit.evaluate.benchmarks.benchmark import Find, Read, Rows
from selectit.evaluate.benchmarks.rows import rows_with
from selectit.evaluate.grading.sandbox import Program

PLUS_TIMES = 5
"""Times the sandbox's usual limits of time, for hundreds of tests instead of a few."""
_KEYS = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")


def reader_of(file: str) -> Read:
    """Of a release file; the inputs of the tests, of every shape, stay JSON."""

    def read(find: Find, _: str) -> dict[str, Rows]:
        path = find(file)
        rows = rows_with(path, read_jsonl(path), _KEYS)
        for row in rows:
            tests = {key: row.pop(key) for key in ("base_input", "plus_input", "atol")}
            row["plus"] = json.dumps(tests)
        return {"test": rows}

    return read


def plus_program(row: Mapping[str, Any], completion: str) -> Program:
    task = {
        "task_id": row["task_id"],
        "entry_point": row["entry_point"],
        "solution": row["prompt"] + row["canonical_solution"],
        **json.loads(row["plus"]),
    }
    test = f"import json\nTASK = json.loads({json.dumps(task)!r})\n{_plus_driver()}"
    return Program(row["prompt"], completion, test, row["entry_point"], PLUS_TIMES)


@cache
def _plus_driver() -> str:
    return (files("selectit.evaluate.grading") / "plus_driver.py").read_text(encoding="utf-8")
