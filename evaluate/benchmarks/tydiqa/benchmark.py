"""TyDiQA gold passage: lm-eval's tasks of nine languages, graded as texts.

Both files hold all languages; a data folder may lack some, which are then left out and noted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.evaluate.benchmarks.benchmark import (
    Benchmark,
    Find,
    HubRows,
    LmEvalTasks,
    ReadHub,
    Row,
    Rows,
    Shots,
    Size,
)
from selectit.evaluate.benchmarks.rows import json_of
from selectit.evaluate.grading.kinds import TextGrader, Texts

FILES = {"train": "tydiqa-goldp-v1.1-train.json", "validation": "tydiqa-goldp-v1.1-dev.json"}
LANGUAGES = {
    "ar": "arabic", "bn": "bengali", "en": "english", "fi": "finnish", "id": "indonesian",
    "ko": "korean", "ru": "russian", "sw": "swahili", "te": "telugu",
}  # fmt: skip
"""As lm-eval's task names spell them -> as the ids of the items do."""


def read(find: Find, _: str) -> dict[str, Rows]:
    return {split: _squad_rows(find(name)) for split, name in FILES.items()}


def _squad_rows(path: Path) -> Rows:
    return [
        {
            "id": question["id"],
            "title": article.get("title", ""),  # the official train file has none
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {key: [answer[key] for answer in question["answers"]] for key in ("text", "answer_start")},
        }
        for article in json_of(path)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def languages_of(find: Find, num_fewshot: int) -> set[str]:
    """Languages of a data folder with at least one question and enough demonstrations."""
    counts = {split: [row["id"].split("-")[0] for row in rows] for split, rows in read(find, "").items()}
    return {language for language in set(counts["validation"]) if counts["train"].count(language) >= num_fewshot}


def _to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
    files = {}
    for split, name in FILES.items():
        paragraphs = [
            {
                "context": row["context"],
                "qas": [
                    {
                        "id": row["id"],
                        "question": row["question"],
                        "answers": [
                            {"text": text, "answer_start": start}
                            for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
                        ],
                    }
                ],
            }
            for row in read_hub("secondary_task", split)
        ]
        files[name] = json.dumps({"data": [{"paragraphs": paragraphs}]}).encode()
    return files


def _places(asked: Mapping[str, Sequence[Any]], splits: Mapping[str, Any]) -> list[int]:
    place = {row_id: at for at, row_id in enumerate(splits["validation"]["id"])}
    return [place[row_id] for row_id in asked["id"]]


def _right_answer(row: Row) -> str:
    """Args: row: as the file has it, or as lm-eval's task makes it."""
    return f" {row['answers'][0] if isinstance(row['answers'], list) else row['answers']['text'][0]}"


BENCHMARKS = (
    Benchmark(
        name="tydiqa",
        display_name="TyDiQA",
        folder="tydiqa",
        published_at="the GoldP files v1.1 that github.com/google-research-datasets/tydiqa names",
        files=tuple(FILES.values()),
        read=read,
        source=HubRows("google-research-datasets/tydiqa", _to_files),
        grading=Texts(
            {
                "tydiqa": TextGrader("selectit.evaluate.grading.span_answers:grade_tydiqa", ("f1", "exact_match")),
                "selectit_tydiqa": TextGrader(
                    "selectit.evaluate.grading.released_graders:grade_selectit_tydiqa", ("f1", "exact_match")
                ),
            }
        ),
        right_answer=_right_answer,
        size=Size(9, 5077, 1106),
        lm_eval=LmEvalTasks("tydiqa", "tydiqa_goldp_", LANGUAGES, "languages"),
        shots=Shots(),
        cut_prompts=("selectit",),
        mean_of="tasks",
        available_tasks=languages_of,
        places=_places,
    ),
)
