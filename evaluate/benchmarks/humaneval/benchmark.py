"""HumanEval: a task of its own, whose completions are run."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from typing import Any

from selectit.data.jsonl import read_jsonl
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, ReadHub, Rows, Size
from selectit.evaluate.benchmarks.rows import as_lines, rows_with
from selectit.evaluate.grading.kinds import Programs
from selectit.evaluate.grading.sandbox import Program

KEYS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find("HumanEval.jsonl.gz")
    return {"test": rows_with(path, read_jsonl(path), KEYS)}


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    # without a time in the header, so that two fetches give the same bytes
    return {"HumanEval.jsonl.gz": gzip.compress(as_lines(read_hub(None, "test")), mtime=0)}


def _program(row: Mapping[str, Any], completion: str) -> Program:
    return Program(row["prompt"], completion, row["test"], row["entry_point"])


BENCHMARKS = (
    Benchmark(
        name="humaneval",
        display_name="HumanEval",
        folder="humaneval",
        published_at="data/HumanEval.jsonl.gz of github.com/openai/human-eval",
        files=("HumanEval.jsonl.gz",),
        read=_read,
        source=HubRows("openai/openai_humaneval", _to_files),
        grading=Programs(_program),
        right_answer=lambda row: str(row["canonical_solution"]),
        size=Size(1, 164, 160),
        item_file="HumanEval.jsonl.gz",
    ),
)
