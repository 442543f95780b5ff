"""Benchmark files of a local data folder, read into the rows that the same benchmark has on the hub.

One reader per benchmark: (data folder, name of the hub configuration) -> {split: rows}. Standard library only.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import MATHEMATICS, ON_HUB, existing

Rows = list[dict[str, Any]]
_ALPACA_EVAL_REFERENCES = {
    "alpaca_eval": ("alpaca_eval", "text_davinci_003.json"),
    "alpaca_eval_gpt4_baseline": ("alpaca_eval_2", "gpt4_1106_preview.json"),
}
"""The hub's name of a set of reference answers -> folder and file."""
MATHEMATICS_ON_HUB = {ON_HUB[name]: name for name in MATHEMATICS}
_ANSWERS = {**{letter: i for i, letter in enumerate("ABCD")}, **{str(i): i for i in range(4)}}


def read(data: Path, dataset_path: str, dataset_name: str | None) -> dict[str, Rows]:
    """Args: data: the folder that holds mmlu/, bbh/...; dataset_path, dataset_name: what a task reads on the hub."""
    return _READERS[dataset_path](data, dataset_name or "")


def read_mmlu(data: Path, subject: str) -> dict[str, Rows]:
    return {
        split: _mmlu_rows(existing(data / "mmlu" / split / f"{subject}_{split}.csv"), subject)
        for split in ("dev", "test")
    }


def _mmlu_rows(path: Path, subject: str) -> Rows:
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


def read_bbh(data: Path, task: str) -> dict[str, Rows]:
    path = existing(data / "bbh" / f"{task}.json")
    return {"test": _rows(path, _json(path)["examples"], ("input", "target"))}


def read_gsm8k(data: Path, _: str) -> dict[str, Rows]:
    path = existing(data / "gsm8k" / "test.jsonl")
    return {"test": _rows(path, read_jsonl(path), ("question", "answer"))}


def read_humaneval(data: Path, _: str) -> dict[str, Rows]:
    path = existing(data / "humaneval" / "HumanEval.jsonl.gz")
    return {"test": _rows(path, read_jsonl(path), ("task_id", "prompt", "entry_point", "canonical_solution", "test"))}


def read_alpaca_eval(data: Path, name: str) -> dict[str, Rows]:
    folder, file = _ALPACA_EVAL_REFERENCES[name]
    return {"eval": alpaca_eval_rows(existing(data / folder / file))}


def alpaca_eval_rows(path: Path) -> Rows:
    return _rows(path, _json(path), ("dataset", "instruction", "output", "generator"))


def _mathematics(benchmark: str, data: Path, _: str) -> dict[str, Rows]:
    path = existing(data / benchmark / "test.jsonl")
    return {"test": [mathematics_row(row, f"{path}, item {n}") for n, row in enumerate(read_jsonl(path), 1)]}


def mathematics_row(row: dict[str, Any], where: str) -> dict[str, Any]:
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


def read_medqa(data: Path, _: str) -> dict[str, Rows]:
    path = existing(data / "medqa" / "phrases_no_exclude_test.jsonl")
    rows = _rows(path, read_jsonl(path), ("question", "options", "answer_idx"))
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


def read_medmcqa(data: Path, _: str) -> dict[str, Rows]:
    """The authors count the right option from 1, the hub from 0."""
    path = existing(data / "medmcqa" / "dev.json")
    rows = _rows(path, read_jsonl(path), ("id", "question", "opa", "opb", "opc", "opd", "cop"))
    for number, row in enumerate(rows, 1):
        if row["cop"] not in (1, 2, 3, 4):
            raise UserError(f"{path}, item {number}: cop is {row['cop']!r}, expected 1 to 4")
        row["cop"] -= 1
    return {"validation": rows}


def _plus(folder: str, file: str, data: Path, _: str) -> dict[str, Rows]:
    """evalplus' release files; the inputs of the tests, of every shape, stay JSON."""
    path = existing(data / folder / file)
    keys = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
    rows = _rows(path, read_jsonl(path), keys)
    for row in rows:
        tests = {key: row.pop(key) for key in ("base_input", "plus_input", "atol")}
        row["plus"] = json.dumps(tests)
    return {"test": rows}


def read_mbpp(data: Path, _: str) -> dict[str, Rows]:
    path = existing(data / "mbpp" / "mbpp.jsonl")
    keys = ("task_id", "text", "code", "test_list", "test_setup_code")
    return mbpp_splits(_rows(path, read_jsonl(path), keys), str(path))


def mbpp_splits(rows: Rows, where: str) -> dict[str, Rows]:
    """Tasks 11 to 510 are the test set, 2 to 4 the examples of the prompt. Source: Austin et al. 2021.

    Raises: UserError where one of the two is not there.
    """
    splits = {
        "prompt": [row for row in rows if row["task_id"] in (2, 3, 4)],
        "test": [row for row in rows if 11 <= row["task_id"] <= 510],
    }
    if len(splits["prompt"]) != 3 or not splits["test"]:
        raise UserError(f"{where}: needs the tasks 2, 3 and 4, which stand in the prompt, and some of 11 to 510")
    return splits


def read_bigcodebench(data: Path, _: str) -> dict[str, Rows]:
    path = existing(data / "bigcodebench" / "BigCodeBench.jsonl")
    keys = ("task_id", "complete_prompt", "canonical_solution", "entry_point", "test")
    return {"v0.1.4": _rows(path, read_jsonl(path), keys)}


def read_arena_hard(data: Path, _: str) -> dict[str, Rows]:
    questions, answers = (
        existing(data / "arena_hard" / name) for name in ("question.jsonl", "model_answer/gpt-4-0314.jsonl")
    )
    return {"test": arena_hard_rows(questions, answers)}


def arena_hard_rows(questions: Path, answers: Path) -> Rows:
    """Each question with the baseline's answer, joined by id.

    Raises: UserError where the baseline did not answer a question.
    """
    asked = _rows(questions, read_jsonl(questions), ("question_id", "turns"))
    answered = _rows(answers, read_jsonl(answers), ("question_id", "model_id", "choices"))
    by_id = {answer["question_id"]: answer for answer in answered}
    if missing := [str(row["question_id"]) for row in asked if row["question_id"] not in by_id]:
        raise UserError(
            f"arena_hard: the baseline's file has no answer to {len(missing)} of {len(asked)} questions, such as "
            f"{missing[0]}; take question.jsonl and the answers from the same version"
        )
    return [
        {
            "id": str(row["question_id"]),
            "instruction": row["turns"][0]["content"],
            "output": by_id[row["question_id"]]["choices"][0]["turns"][0]["content"],
            "generator": by_id[row["question_id"]]["model_id"],
        }
        for row in asked
    ]


def read_wmt22(data: Path, pair: str) -> dict[str, Rows]:
    """Two files with a sentence a line. Args: pair: such as en-de."""
    paths = [existing(data / "wmt22" / f"test.{pair}.{code}") for code in pair.split("-")]
    # a line ends at a newline only: sentences hold separators that splitlines would take for one
    source, target = (path.read_text(encoding="utf-8").removesuffix("\n").split("\n") for path in paths)
    if len(source) != len(target):
        raise UserError(f"{paths[0]} has {len(source)} lines and {paths[1]} {len(target)}; they must be translations")
    return {"test": [wmt22_row(n, *texts) for n, texts in enumerate(zip(source, target, strict=True))]}


def wmt22_row(number: int, source: str, reference: str) -> dict[str, Any]:
    return {"id": str(number), "source": source.strip(), "reference": reference.strip()}


def read_tydiqa(data: Path, _: str) -> dict[str, Rows]:
    return {
        split: _squad_rows(existing(data / "tydiqa" / f"tydiqa-goldp-v1.1-{name}.json"))
        for split, name in (("train", "train"), ("validation", "dev"))
    }


def _squad_rows(path: Path) -> Rows:
    return [
        {
            "id": question["id"],
            "title": article.get("title", ""),  # the official train file has none
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {key: [answer[key] for answer in question["answers"]] for key in ("text", "answer_start")},
        }
        for article in _json(path)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def tydiqa_languages(data: Path, num_fewshot: int) -> set[str]:
    """Languages of a data folder with at least one question and enough demonstrations."""
    counts = {split: [row["id"].split("-")[0] for row in rows] for split, rows in read_tydiqa(data, "").items()}
    return {language for language in set(counts["validation"]) if counts["train"].count(language) >= num_fewshot}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def _rows(path: Path, rows: Any, keys: tuple[str, ...]) -> Rows:
    """The rows with these keys and no others."""
    for number, row in enumerate(rows, 1):
        if missing := [key for key in keys if key not in row]:
            raise UserError(f"{path}, item {number} has no {', '.join(missing)}; it needs {', '.join(keys)}")
    return [{key: row[key] for key in keys} for row in rows]


_READERS: dict[str, Callable[[Path, str], dict[str, Rows]]] = {
    "cais/mmlu": read_mmlu,
    "SaylorTwift/bbh": read_bbh,
    "openai/gsm8k": read_gsm8k,
    "google-research-datasets/tydiqa": read_tydiqa,
    "openai/openai_humaneval": read_humaneval,
    "tatsu-lab/alpaca_eval": read_alpaca_eval,
    **{hub: partial(_mathematics, benchmark) for hub, benchmark in MATHEMATICS_ON_HUB.items()},
    "evalplus/humanevalplus": partial(_plus, "humaneval_plus", "HumanEvalPlus.jsonl.gz"),
    "evalplus/mbppplus": partial(_plus, "mbpp_plus", "MbppPlus.jsonl.gz"),
    "google-research-datasets/mbpp": read_mbpp,
    "haoranxu/WMT22-Test": read_wmt22,
    "lmarena-ai/arena-hard-auto": read_arena_hard,
    "bigcode/bigcodebench": read_bigcodebench,
    "GBaker/MedQA-USMLE-4-options-hf": read_medqa,
    "openlifescienceai/medmcqa": read_medmcqa,
}
"""By the hub id that the task names."""
