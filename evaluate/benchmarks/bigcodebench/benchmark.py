"""BigCodeBench, complete: completions that are written for its own grader."""

from __future__ import annotations

from collections.abc import Sequence

from selectit.data.jsonl import read_jsonl
from selectit.evaluate.benchmarks.benchmark import NOT_MEASURED, Benchmark, Find, HubRows, ReadHub, Rows
from selectit.evaluate.benchmarks.rows import as_lines, rows_with
from selectit.evaluate.grading.kinds import Exported
from selectit.store.names import SAMPLES_FILE

SPLIT = "v0.1.4"
KEYS = ("task_id", "complete_prompt", "canonical_solution", "entry_point", "test")


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find("BigCodeBench.jsonl")
    return {SPLIT: rows_with(path, read_jsonl(path), KEYS)}


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    return {"BigCodeBench.jsonl": as_lines(read_hub(None, SPLIT))}


BENCHMARKS = (
    Benchmark(
        name="bigcodebench",
        display_name="BigCodeBench",
        folder="bigcodebench",
        published_at="the rows of huggingface.co/datasets/bigcode/bigcodebench, one a line",
        files=("BigCodeBench.jsonl",),
        read=_read,
        source=HubRows("bigcode/bigcodebench", _to_files),
        grading=Exported(
            prompt="complete_prompt",
            reason=f"exported, not graded: {SAMPLES_FILE} in the artifact is for bigcodebench.evaluate --split "
            f"complete --subset full --samples {SAMPLES_FILE}, in BigCodeBench's own container (docs/evaluation.md)",
        ),
        right_answer=lambda row: str(row["canonical_solution"]),
        size=NOT_MEASURED,
    ),
)
