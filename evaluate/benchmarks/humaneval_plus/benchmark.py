"""HumanEval+: HumanEval's prompts with evalplus' tests, from its release file."""

from __future__ import annotations

from selectit.evaluate.benchmarks.benchmark import Benchmark, Release, Size
from selectit.evaluate.benchmarks.evalplus import plus_program, reader_of
from selectit.evaluate.grading.kinds import Programs

FILE = "HumanEvalPlus.jsonl.gz"

BENCHMARKS = (
    Benchmark(
        name="humaneval_plus",
        display_name="HumanEval+",
        folder="humaneval_plus",
        published_at="HumanEvalPlus.jsonl.gz of the releases of github.com/evalplus/humanevalplus_release",
        files=(FILE,),
        read=reader_of(FILE),
        source=Release(
            FILE,
            f"https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/{FILE}",
            "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101",
            "evalplus",
        ),
        grading=Programs(plus_program),
        right_answer=lambda row: str(row["canonical_solution"]),
        size=Size(1, 164, 160),
        item_file=FILE,
    ),
)
