"""MBPP+: MBPP's tasks with evalplus' prompts and tests, from its release file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selectit.evaluate.benchmarks.benchmark import NOT_MEASURED, Benchmark, Release
from selectit.evaluate.benchmarks.evalplus import plus_program, reader_of
from selectit.evaluate.benchmarks.mbpp.benchmark import TRUTH_OF_A_MATCH
from selectit.evaluate.grading.kinds import Programs
from selectit.evaluate.grading.sandbox import Program

FILE = "MbppPlus.jsonl.gz"


def _program(row: Mapping[str, Any], completion: str) -> Program:
    return plus_program(row, completion + TRUTH_OF_A_MATCH.format(name=row["entry_point"]))


BENCHMARKS = (
    Benchmark(
        name="mbpp_plus",
        display_name="MBPP+",
        folder="mbpp_plus",
        published_at="MbppPlus.jsonl.gz of the releases of github.com/evalplus/mbppplus_release",
        files=(FILE,),
        read=reader_of(FILE),
        source=Release(
            FILE,
            f"https://github.com/evalplus/mbppplus_release/releases/download/v0.2.0/{FILE}",
            "af43697e8791c4c149bdfd6b489d8b5412507551ac20e28a439f650b8225db63",
            "evalplus",
        ),
        grading=Programs(_program),
        right_answer=lambda row: str(row["canonical_solution"]),
        size=NOT_MEASURED,
    ),
)
