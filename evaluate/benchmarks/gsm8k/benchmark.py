"""GSM8K: lm-eval's task with its worked examples, graded as texts."""

from __future__ import annotations

from collections.abc import Sequence

from selectit.data.jsonl import read_jsonl
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, LmEvalTasks, ReadHub, Rows, Size
from selectit.evaluate.benchmarks.rows import as_lines, only, rows_with
from selectit.evaluate.grading.kinds import TextGrader, Texts

KEYS = ("question", "answer")


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find("test.jsonl")
    return {"test": rows_with(path, read_jsonl(path), KEYS)}


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    return {"test.jsonl": as_lines(only(read_hub("main", "test"), *KEYS))}


BENCHMARKS = (
    Benchmark(
        name="gsm8k",
        display_name="GSM8K",
        folder="gsm8k",
        published_at="grade_school_math/data/test.jsonl of github.com/openai/grade-school-math",
        files=("test.jsonl",),
        read=_read,
        source=HubRows("openai/gsm8k", _to_files),
        grading=Texts(
            {
                "gsm8k": TextGrader(
                    "selectit.evaluate.grading.number_answers:grade_gsm8k",
                    ("exact_match,flexible-extract", "exact_match,strict-match"),
                    version=3,
                ),
                "selectit_gsm8k": TextGrader(
                    "selectit.evaluate.grading.released_graders:grade_selectit_gsm8k", ("exact_match",)
                ),
            }
        ),
        right_answer=lambda row: f" The answer is {row['answer'].split('####')[-1].strip()}.",
        size=Size(1, 1319, 839, shared_tokens=774),
        item_file="test.jsonl",
        lm_eval=LmEvalTasks("gsm8k"),
    ),
)
