"""MMLU, and its medical subjects: lm-eval's tasks, a question and four choices a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, LmEvalTasks, ReadHub, Rows, Shots, Size
from selectit.evaluate.grading.kinds import Choices

SPLITS = ("dev", "test")
_ANSWERS = {**{letter: i for i, letter in enumerate("ABCD")}, **{str(i): i for i in range(4)}}


def read(find: Find, subject: str) -> dict[str, Rows]:
    return {split: _rows(find(f"{split}/{subject}_{split}.csv"), subject) for split in SPLITS}


def _rows(path: Path, subject: str) -> Rows:
    # csv, not pandas: ten cells of the test set are the word `None`, which pandas reads as missing
    with path.open(encoding="utf-8", newline="") as f:
        table = [cells for cells in csv.reader(f) if cells]
    if table and len(table[0]) == 6 and table[0][5].strip() not in _ANSWERS:
        table = table[1:]  # the copies of MMLU that are in circulation come with and without a header
    rows = []
    for number, cells in enumerate(table, 1):
        if len(cells) != 6 or cells[5].strip() not in _ANSWERS:
            raise UserError(
                f"{path}, question {number}: expected question, four choices and answer (A..D or 0..3), found {cells}"
            )
        rows.append(
            {"question": cells[0], "subject": subject, "choices": cells[1:5], "answer": _ANSWERS[cells[5].strip()]}
        )
    return rows


def _to_files(read_hub: ReadHub, subjects: Sequence[str]) -> dict[str, bytes]:
    files = {}
    for subject in subjects:
        for split in SPLITS:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(
                [row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in read_hub(subject, split)
            )
            files[f"{split}/{subject}_{split}.csv"] = text.getvalue().encode()
    return files


def _declared(**own: Any) -> Benchmark:
    return Benchmark(
        folder="mmlu",
        published_at="data.tar of github.com/hendrycks/test, its folders dev and test",
        files=("dev/{task}_dev.csv", "test/{task}_test.csv"),
        read=read,
        source=HubRows("cais/mmlu", _to_files),
        grading=Choices(),
        right_answer=lambda row: int(row["answer"]),
        item_file="test/{task}_test.csv",
        lm_eval=LmEvalTasks("mmlu/default", "mmlu_", called="subjects"),
        shots=Shots(most=5, file="dev/{task}_dev.csv", split="dev"),
        **own,
    )


BENCHMARKS = (
    _declared(
        name="mmlu",
        display_name="MMLU",
        size=Size(57, 14042, 766, shared_tokens=666),
        cut_prompts=("selectit",),
    ),
    _declared(
        name="mmlu_medical",
        display_name="MMLU medical",
        size=Size(6, 1089, 702, shared_tokens=579),
        sizes={"instructdiff": Size(12, 2739, 101)},
    ),
)
