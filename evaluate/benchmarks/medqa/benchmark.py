"""MedQA: lm-eval's task, the USMLE questions with four options."""

from __future__ import annotations

from collections.abc import Sequence

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, LmEvalTasks, ReadHub, Rows, Size
from selectit.evaluate.benchmarks.rows import as_lines, rows_with
from selectit.evaluate.grading.kinds import Choices

FILE = "phrases_no_exclude_test.jsonl"


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find(FILE)
    rows = rows_with(path, read_jsonl(path), ("question", "options", "answer_idx"))
    for number, row in enumerate(rows, 1):
        if sorted(row["options"]) != list("ABCD") or row["answer_idx"] not in row["options"]:
            raise UserError(f"{path}, item {number}: expected options A to D and one of them as answer_idx")
    return {
        "test": [
            {
                "sent1": row["question"],
                **{f"ending{i}": row["options"][letter] for i, letter in enumerate("ABCD")},
                "label": "ABCD".index(row["answer_idx"]),
            }
            for row in rows
        ]
    }


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    rows = [
        {
            "question": row["sent1"],
            "options": {letter: row[f"ending{i}"] for i, letter in enumerate("ABCD")},
            "answer_idx": "ABCD"[row["label"]],
        }
        for row in read_hub(None, "test")
    ]
    return {FILE: as_lines(rows)}


BENCHMARKS = (
    Benchmark(
        name="medqa",
        display_name="MedQA",
        folder="medqa",
        published_at="data_clean/questions/US/4_options/phrases_no_exclude_test.jsonl of the archive that "
        "github.com/jind11/MedQA names",
        files=(FILE,),
        read=_read,
        source=HubRows("GBaker/MedQA-USMLE-4-options-hf", _to_files),
        grading=Choices(),
        right_answer=lambda row: int(row["label"]),
        size=Size(1, 1273, 264),
        item_file=FILE,
        lm_eval=LmEvalTasks("medqa"),
    ),
)
