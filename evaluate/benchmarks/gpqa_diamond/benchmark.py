"""GPQA diamond: questions of natural science with four options that are answered after a chain of thought.

The authors' file has the right answer in a column of its own; the order in which its options are asked is drawn with a
seed made of the question, so it is the same for every model, machine and run.
"""

from __future__ import annotations

import csv
import random

from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubFiles, Rows, Size
from selectit.evaluate.grading.kinds import TextGrader, Texts

FILE = "gpqa_diamond.csv"
HUB = "Idavidrein/gpqa"
_OPTIONS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find(FILE)
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as f:
        for number, row in enumerate(csv.DictReader(f), 1):
            if missing := [name for name in ("Question", *_OPTIONS) if not (row.get(name) or "").strip()]:
                raise UserError(
                    f"{path}, item {number} has no {', '.join(missing)}; it needs a question and four answers"
                )
            question = row["Question"].strip()
            order = random.Random(question).sample(range(4), 4)
            options = [row[_OPTIONS[at]].strip() for at in order]
            source_id = row.get("Record ID") or ""
            rows.append({"id": source_id, "question": question, "options": options, "answer": "ABCD"[order.index(0)]})
    return {"test": rows}


BENCHMARKS = (
    Benchmark(
        name="gpqa_diamond",
        display_name="GPQA diamond",
        folder="gpqa_diamond",
        published_at=f"{FILE} in dataset.zip of github.com/idavidrein/gpqa, whose README has the password; on the hub "
        f"it is at huggingface.co/datasets/{HUB}, for accounts that have accepted its terms there",
        files=(FILE,),
        read=_read,
        source=HubFiles(HUB, {FILE: FILE}),
        grading=Texts(
            {"gpqa_diamond": TextGrader("selectit.evaluate.grading.option_answers:grade_options", ("exact_match",))}
        ),
        right_answer=lambda row: f"The answer is ({row['answer']}).",
        size=Size(1, 198, 320),
    ),
)
