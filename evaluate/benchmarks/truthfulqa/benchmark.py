"""TruthfulQA, multiple choice: true and false answers to a question, of which the model finds some more probable.

mc1 has one true answer among its choices, mc2 several; both are asked at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubRows, LmEvalTasks, ReadHub, Row, Rows, Size
from selectit.evaluate.benchmarks.rows import json_of, rows_with
from selectit.evaluate.grading.kinds import TrueChoices

FILE = "mc_task.json"
HUB = "truthfulqa/truthful_qa"
_SETS = ("mc1_targets", "mc2_targets")


def _row(row: Mapping[str, Any], where: str) -> Row:
    """Every answer once, with the places of those in mc1, of those in mc2, and of the true ones.

    Args:   row: as the authors publish it; each set has its answers as keys, and 1 for those that are true, else 0.
    Raises: UserError where mc1 has not one true answer, or a set has no false ones, or mc2 no true ones.
    """
    mc1, mc2 = (dict(row[name]) for name in _SETS)
    if list(mc1.values()).count(1) != 1 or any(set(one.values()) != {0, 1} for one in (mc1, mc2)):
        raise UserError(
            f"{where}: expected mc1_targets with one true answer (1) and false ones (0), and mc2_targets with true and "
            f"false ones; found {json.dumps([mc1, mc2])[:200]}"
        )
    choices = list(dict.fromkeys([*mc2, *mc1]))
    places = {text: at for at, text in enumerate(choices)}
    return {
        "question": row["question"],
        "choices": choices,
        "best": places[next(text for text, label in mc1.items() if label == 1)],
        "mc1": [places[text] for text in mc1],
        "mc2": [places[text] for text in mc2],
        "true": [places[text] for text, label in mc2.items() if label == 1],
    }


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find(FILE)
    rows = rows_with(path, json_of(path), ("question", *_SETS))
    return {"validation": [_row(row, f"{path}, item {number}") for number, row in enumerate(rows, 1)]}


def _as_published(row: Mapping[str, Any]) -> Row:
    """Args: row: the hub's, whose sets have lists `choices` and `labels`."""
    sets = {name: dict(zip(row[name]["choices"], row[name]["labels"], strict=True)) for name in _SETS}
    return {"question": row["question"], **sets}


def _of_hub(splits: Mapping[str, Sequence[Row]], _: str) -> dict[str, Rows]:
    rows = enumerate(splits["validation"], 1)
    return {"validation": [_row(_as_published(row), f"{HUB}, item {number}") for number, row in rows]}


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    rows = [_as_published(row) for row in read_hub("multiple_choice", "validation")]
    return {FILE: json.dumps(rows, ensure_ascii=False, indent=1).encode()}


BENCHMARKS = (
    Benchmark(
        name="truthfulqa",
        display_name="TruthfulQA",
        folder="truthfulqa",
        published_at="data/mc_task.json of github.com/sylinrl/TruthfulQA",
        files=(FILE,),
        read=_read,
        source=HubRows(HUB, _to_files, _of_hub),
        grading=TrueChoices(),
        right_answer=lambda row: int(row["best"]),
        size=Size(1, 817, 330, shared_tokens=179),
        item_file=FILE,
        lm_eval=LmEvalTasks("truthfulqa"),
    ),
)
