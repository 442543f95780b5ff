"""MedMCQA: lm-eval's task, on the validation questions, for the answers of the test set are not public.

The authors count the right option from 1, the hub from 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, LmEvalTasks, ReadHub, Rows, Size
from selectit.evaluate.benchmarks.rows import as_lines, rows_with
from selectit.evaluate.grading.kinds import Choices

FILE = "dev.json"


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find(FILE)
    rows = rows_with(path, read_jsonl(path), ("id", "question", "opa", "opb", "opc", "opd", "cop"))
    for number, row in enumerate(rows, 1):
        if row["cop"] not in (1, 2, 3, 4):
            raise UserError(f"{path}, item {number}: cop is {row['cop']!r}, expected 1 to 4")
        row["cop"] -= 1
    return {"validation": rows}


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    return {FILE: as_lines({**row, "cop": row["cop"] + 1} for row in read_hub(None, "validation"))}


BENCHMARKS = (
    Benchmark(
        name="medmcqa",
        display_name="MedMCQA",
        folder="medmcqa",
        published_at="dev.json of the archive that github.com/medmcqa/medmcqa names",
        files=(FILE,),
        read=_read,
        source=HubRows("openlifescienceai/medmcqa", _to_files),
        grading=Choices(),
        right_answer=lambda row: int(row["cop"]),
        size=Size(1, 4183, 73),
        item_file=FILE,
        lm_eval=LmEvalTasks("medmcqa"),
    ),
)
