"""MMLU-Pro: lm-eval's tasks, questions with up to ten options that are answered after a chain of thought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubFiles, LmEvalTasks, Rows, Shots, Size
from selectit.evaluate.benchmarks.rows import rows_with
from selectit.evaluate.grading.kinds import TextGrader, Texts

FILES = {split: f"data/{split}-00000-of-00001.parquet" for split in ("validation", "test")}
LETTERS = "ABCDEFGHIJ"
_KEYS = ("question_id", "question", "options", "answer", "cot_content", "category")


def _read(find: Find, subject: str) -> dict[str, Rows]:
    """Args: subject: as a profile spells it; empty for all, of which lm-eval's tasks take their own."""
    found = {split: _rows(path := find(name), path.stat().st_mtime_ns) for split, name in FILES.items()}
    if subject:
        return {split: [row for row in rows if _spelled(row) == subject] for split, rows in found.items()}
    return found


def _spelled(row: Mapping[str, Any]) -> str:
    return str(row["category"]).replace(" ", "_")


@lru_cache(maxsize=4)
def _rows(path: Path, modified_ns: int) -> Rows:
    """Kept for the 14 tasks of one run, as long as the file is not changed."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not Parquet: {str(error).splitlines()[0]}") from error
    rows = rows_with(path, table, _KEYS)
    for number, row in enumerate(rows, 1):
        options = row["options"]
        letters = LETTERS[: len(options)] if isinstance(options, list) else ""
        if len(letters) != len(options) or len(letters) < 2 or row["answer"] not in tuple(letters):
            raise UserError(
                f"{path}, item {number}: expected 2 to 10 options and the letter of one of them as answer, found "
                f"{len(options)} and {row['answer']!r}"
            )
    return rows


def _places(asked: Mapping[str, Sequence[Any]], splits: Mapping[str, Any]) -> list[int]:
    place = {row_id: at for at, row_id in enumerate(splits["test"]["question_id"])}
    return [place[row_id] for row_id in asked["question_id"]]


BENCHMARKS = (
    Benchmark(
        name="mmlu_pro",
        display_name="MMLU-Pro",
        folder="mmlu_pro",
        published_at="huggingface.co/datasets/TIGER-Lab/MMLU-Pro, with its folder data",
        files=tuple(FILES.values()),
        read=_read,
        source=HubFiles("TIGER-Lab/MMLU-Pro", {name: name for name in FILES.values()}),
        grading=Texts(
            {"mmlu_pro": TextGrader("selectit.evaluate.grading.option_answers:grade_options", ("exact_match",))}
        ),
        right_answer=lambda row: f" The answer is ({row['answer']}).",
        size=Size(14, 12032, 1600, shared_tokens=1400),
        lm_eval=LmEvalTasks("mmlu_pro", "mmlu_pro_", called="subjects"),
        shots=Shots(most=5, file=FILES["validation"], split="validation"),
        places=_places,
    ),
)
