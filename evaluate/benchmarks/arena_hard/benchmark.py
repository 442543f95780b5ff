"""Arena-Hard v0.1: answers that a judge compares with gpt-4-0314's, in two games a question."""

from __future__ import annotations

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import NOT_MEASURED, Benchmark, Find, HubFiles, Rows
from selectit.evaluate.benchmarks.rows import rows_with
from selectit.evaluate.grading.kinds import Judged

REFERENCE = "gpt-4-0314"
QUESTIONS, ANSWERS = "question.jsonl", f"model_answer/{REFERENCE}.jsonl"


def _read(find: Find, _: str) -> dict[str, Rows]:
    """Each question with the baseline's answer, joined by id.

    Raises: UserError where the baseline did not answer a question.
    """
    questions, answers = find(QUESTIONS), find(ANSWERS)
    asked = rows_with(questions, read_jsonl(questions), ("question_id", "turns"))
    answered = rows_with(answers, read_jsonl(answers), ("question_id", "model_id", "choices"))
    by_id = {answer["question_id"]: answer for answer in answered}
    if missing := [str(row["question_id"]) for row in asked if row["question_id"] not in by_id]:
        raise UserError(
            f"arena_hard: the baseline's file has no answer to {len(missing)} of {len(asked)} questions, such as "
            f"{missing[0]}; take question.jsonl and the answers from the same version"
        )
    return {
        "test": [
            {
                "id": str(row["question_id"]),
                "instruction": row["turns"][0]["content"],
                "output": by_id[row["question_id"]]["choices"][0]["turns"][0]["content"],
                "generator": by_id[row["question_id"]]["model_id"],
            }
            for row in asked
        ]
    }


BENCHMARKS = (
    Benchmark(
        name="arena_hard",
        display_name="Arena-Hard",
        folder="arena_hard",
        published_at="the folder data/arena-hard-v0.1 of github.com/lmarena/arena-hard-auto",
        files=(QUESTIONS, ANSWERS),
        read=_read,
        source=HubFiles(
            "lmarena-ai/arena-hard-auto", {name: f"data/arena-hard-v0.1/{name}" for name in (QUESTIONS, ANSWERS)}
        ),
        grading=Judged(reference=REFERENCE, games=True),
        right_answer=lambda row: str(row["output"]),
        size=NOT_MEASURED,
    ),
)
