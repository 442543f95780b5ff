"""BIG-Bench Hard: lm-eval's 27 tasks with their worked examples, graded as texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, LmEvalTasks, ReadHub, Rows, Size
from selectit.evaluate.benchmarks.rows import json_of, only, rows_with
from selectit.evaluate.grading.kinds import TextGrader, Texts


def _read(find: Find, task: str) -> dict[str, Rows]:
    path = find(f"{task}.json")
    return {"test": rows_with(path, json_of(path)["examples"], ("input", "target"))}


def _to_files(read_hub: ReadHub, tasks: Sequence[str]) -> dict[str, bytes]:
    return {
        f"{task}.json": json.dumps({"examples": only(read_hub(task, "test"), "input", "target")}).encode()
        for task in tasks
    }


BENCHMARKS = (
    Benchmark(
        name="bbh",
        display_name="BBH",
        folder="bbh",
        published_at="the folder bbh of github.com/suzgunmirac/BIG-Bench-Hard",
        files=("{task}.json",),
        read=_read,
        source=HubRows("SaylorTwift/bbh", _to_files),
        grading=Texts(
            {
                "bbh": TextGrader("selectit.evaluate.grading.bbh_answers:grade_bbh", ("exact_match",), version=3),
                "selectit_bbh": TextGrader(
                    "selectit.evaluate.grading.released_graders:grade_selectit_bbh", ("exact_match",)
                ),
            }
        ),
        right_answer=lambda row: f" So the answer is {row['target']}.",
        size=Size(27, 6511, 1012, shared_tokens=917),
        item_file="{task}.json",
        lm_eval=LmEvalTasks("bbh/cot_fewshot", "bbh_cot_fewshot_"),
        mean_of="tasks",
    ),
)
