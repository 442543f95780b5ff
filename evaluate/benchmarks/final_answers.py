"""Sets of problems with a final answer that math-verify compares: one file, one row a problem, five ways to name its
columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, ReadHub, Row, Rows
from selectit.evaluate.benchmarks.rows import as_lines
from selectit.evaluate.grading.kinds import FinalAnswers

FILE = "test.jsonl"


def problems(name: str, *, hub: str, hub_split: str = "test", **own: Any) -> Benchmark:
    """A set of problems, in a folder of its own name.

    Args: hub_split: what the hub calls its one split.
    """

    def of_hub(splits: Mapping[str, Sequence[Row]], _: str) -> dict[str, Rows]:
        return {"test": [problem_of(row, f"{hub}, item {n}") for n, row in enumerate(splits[hub_split], 1)]}

    def to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
        return {FILE: as_lines(read_hub(None, hub_split))}

    return Benchmark(
        name=name,
        folder=name,
        files=(FILE,),
        read=read,
        source=HubRows(hub, to_files, of_hub),
        grading=FinalAnswers(),
        right_answer=lambda row: boxed(row["final_answers"][0]),
        item_file=FILE,
        **own,
    )


def read(find: Find, _: str) -> dict[str, Rows]:
    path = find(FILE)
    return {"test": [problem_of(row, f"{path}, item {n}") for n, row in enumerate(read_jsonl(path), 1)]}


def problem_of(row: Mapping[str, Any], where: str) -> Row:
    """One problem, and every form of its final answer that counts as right.

    Args:   row: as published; AIME and AMC as `Problem`, `Answer` or in small letters, OlympiadBench with a list
                 `final_answer`, Minerva's answer in the last box of `solution`.
    Raises: UserError where there is no problem or no answer.
    """
    problem = next((str(row[key]) for key in ("problem", "question", "Problem") if row.get(key)), "")
    found = next((row[key] for key in ("final_answer", "answer", "Answer") if row.get(key) not in (None, "", [])), None)
    if found is None:
        found = last_boxed(str(row.get("solution", "")))
    answers = [str(one) for one in found] if isinstance(found, list) else [str(found)]
    if not problem or found is None:
        raise UserError(
            f"{where}: needs problem (or question) and answer (or final_answer, or a box in solution), found "
            f"{', '.join(row)}"
        )
    source = row.get("unique_id", row.get("id", row.get("idx", row.get("ID", ""))))
    return {"id": str(source), "problem": problem, "final_answers": answers}


def last_boxed(solution: str) -> str | None:
    """What stands in the last \\boxed{...}, braces within it included."""
    start = solution.rfind("\\boxed{")
    depth = 0
    for i in range(max(start, 0), len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[i], 0)
        if start >= 0 and solution[i] == "}" and depth == 0:
            return solution[start + len("\\boxed{") : i]
    return None


def boxed(final_answer: str) -> str:
    """A published answer as a model that follows the request would give it."""
    written = final_answer.lstrip("$ \n").rstrip("$. \n").replace("\\$", "").replace("$", "")
    return f"The final answer is $\\boxed{{{written}}}$."
