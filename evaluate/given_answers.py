"""Answers that are there already: lines {benchmark, task, doc_id, answer}, or items.jsonl of an evaluation.

An item is named by its task (as `--show --items all --out` and items.jsonl spell it, or as a profile does) and by its
place in the authors' file, counted from 0. Several lines of one item are its samples, in their order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from selectit.config import BenchmarkConfig
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.files import lm_eval_tasks
from selectit.evaluate.benchmarks.registry import benchmark_named
from selectit.evaluate.grading.graders import grader_of
from selectit.evaluate.grading.kinds import TrueChoices
from selectit.evaluate.results import CHOICES, Ending, Item, answers_digest, choose
from selectit.store.names import ITEMS_FILE, RESULT_FILE
from selectit.yaml_text import decoded

KEYS = {"benchmark": str, "task": str, "doc_id": int, "answer": str}
KEPT = {"task": str, "item_id": int, "prompt": str, "outputs": list}
"""Of a line of items.jsonl, as far as it is read here."""


@dataclass
class Given:
    outputs: list[Any] = field(default_factory=list)
    where: list[int] = field(default_factory=list)
    """Lines, from 1."""
    kept: Mapping[str, Any] | None = None
    """The item that an evaluation kept, with its prompt."""


Answers = dict[tuple[str, int], Given]
"""By task and place."""


def read_answers(path: Path, benchmark: BenchmarkConfig) -> Answers:
    """The answers to one benchmark; lines of other benchmarks are left out.

    Raises: UserError with the line, for what is not such a line and for a benchmark that is not there.
    """
    found: Answers = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = _row(line, where)
        if "outputs" in row:
            _check_kept(row, where)
            key = row["task"], row["item_id"]
            if key in found:
                raise UserError(f"{where}: {row['task']}, item {row['item_id']} is there twice")
            found[key] = Given(list(row["outputs"]), [number], row)
            _check_outputs(found[key].outputs, benchmark, where)
            continue
        _check(row, where)
        if row["benchmark"] == benchmark.name:
            if isinstance(benchmark_named(benchmark.name).grading, TrueChoices):
                _check_outputs([row["answer"]], benchmark, where)
            given = found.setdefault((_task(row["task"], benchmark), row["doc_id"]), Given())
            given.outputs.append(row["answer"])
            given.where.append(number)
            if len(given.outputs) > benchmark.num_samples:
                raise UserError(
                    f"{where}: answer {len(given.outputs)} to {row['task']}, doc_id {row['doc_id']}, and the profile "
                    f"asks for {benchmark.num_samples} of an item (num_samples); the others are on lines "
                    f"{', '.join(map(str, given.where[:-1]))}"
                )
    if not found:
        raise UserError(f"{path} has no answer to {benchmark.name}; lines need benchmark: {benchmark.name}")
    return found


def _lines(path: Path) -> list[str]:
    try:
        return decoded(path.read_bytes(), f"the answers {path}").split("\n")
    except OSError as error:
        raise UserError(f"the answers {path} cannot be read: {error}") from error


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_each_once)
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected {', '.join(KEYS)}, found {line.strip()[:80]}")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds half of a character (a lone surrogate)") from error
    return row


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"{', '.join(repeated)} twice in one object")
    return dict(pairs)


def _check(row: Mapping[str, Any], where: str) -> None:
    _check_keys(row, KEYS, where)
    try:
        benchmark_named(row["benchmark"])
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _check_kept(row: Mapping[str, Any], where: str) -> None:
    """A line of items.jsonl."""
    _check_keys(row, KEPT, where)
    endings, truncated = row.get("endings", []), row.get("truncated")
    if not isinstance(endings, list) or not all(one in (None, *get_args(Ending)) for one in endings):
        raise UserError(
            f"{where}: endings is {json.dumps(endings)[:80]}, expected one of {get_args(Ending)} per output"
        )
    if not isinstance(truncated, bool | None):
        raise UserError(f"{where}: truncated is {json.dumps(truncated)[:80]}, expected true, false or null")


def _check_outputs(outputs: Sequence[Any], benchmark: BenchmarkConfig, where: str) -> None:
    """Texts; of multiple choice also the log-probability of each choice, or first tokens with theirs."""
    if isinstance(benchmark_named(benchmark.name).grading, TrueChoices):
        if outputs and all(map(_is_log_probability, outputs)):
            return
        raise UserError(
            f"{where}: outputs is {json.dumps(outputs)[:80]}, and {benchmark.name} is scored by the log-probability of "
            "each of its choices, which `selectit evaluate` computes and no text has"
        )
    is_choice = (grader_of(benchmark) or {}).get("name") == "choices"
    most = 1 if is_choice else benchmark.num_samples
    if outputs and all(isinstance(output, str) for output in outputs) and len(outputs) <= most:
        return
    if is_choice and len(outputs) == len(CHOICES) and all(map(_is_log_probability, outputs)):
        return
    if is_choice and outputs and all(map(_is_first_token, outputs)):
        return
    wanted = "a letter, or log-probabilities of its choices" if is_choice else f"{most} text{'s' if most > 1 else ''}"
    raise UserError(
        f"{where}: outputs is {json.dumps(outputs)[:80]}, expected the answers that an evaluation of {benchmark.name} "
        f"kept: {wanted}"
    )


def _is_log_probability(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _is_first_token(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and _is_log_probability(value[1])


def check_unchanged(folder: Path) -> None:
    """Args:   folder: an artifact, with result.json and items.jsonl.
    Raises: UserError where its answers are not those that were graded when it was written.
    """
    result = _result_next_to(folder / ITEMS_FILE)
    expected = result.get("answers_sha256")
    if not expected:  # of a release that did not keep it
        return
    rows = [
        _row(line, f"{folder / ITEMS_FILE}, line {n}")
        for n, line in enumerate(_lines(folder / ITEMS_FILE), 1)
        if line.strip()
    ]
    for number, row in enumerate(rows, 1):
        _check_kept(row, f"{folder / ITEMS_FILE}, line {number}")
    if answers_digest((row["task"], row["item_id"], row["outputs"]) for row in rows) != expected:
        raise UserError(
            f"--regrade {folder}: {ITEMS_FILE} does not hold the answers that were graded there (answers_sha256 of "
            f"{RESULT_FILE}); it was changed or damaged. Run the evaluation again, or grade the file as it is: "
            f"selectit grade --answers {folder / ITEMS_FILE}"
        )


def kept_model(answers: Path) -> dict[str, Any]:
    """What an evaluation said of the model whose answers it kept; empty for answers of another engine."""
    found = _result_next_to(answers).get("model") if answers.name == ITEMS_FILE else None
    return found if isinstance(found, dict) else {}


def kept_notes(folder: Path, beginning: str) -> tuple[str, ...]:
    """The notes of an artifact's result with this beginning."""
    notes = _result_next_to(folder / ITEMS_FILE).get("notes")
    return tuple(n for n in notes if str(n).startswith(beginning)) if isinstance(notes, list) else ()


def _result_next_to(answers: Path) -> dict[str, Any]:
    path = answers.with_name(RESULT_FILE)
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is not the result of an evaluation; it was changed or damaged")
    return found


def _check_keys(row: Mapping[str, Any], keys: Mapping[str, type], where: str) -> None:
    if missing := [key for key in keys if key not in row]:
        raise UserError(f"{where} has no {', '.join(missing)}; it needs {', '.join(keys)}")
    for key, kind in keys.items():
        if not isinstance(row[key], kind) or isinstance(row[key], bool):
            words = {str: "text", int: "a whole number", list: "a list"}[kind]
            raise UserError(f"{where}: {key} is {json.dumps(row[key])[:80]}, expected {words}")


def _task(name: str, benchmark: BenchmarkConfig) -> str:
    """lm-eval's name of a task that may be spelled as a profile spells it."""
    return lm_eval_tasks(benchmark.name, benchmark.prompts).get(name, name)


def cut(text: str, until: Sequence[str]) -> str:
    """The text up to the first stop string, where a model's answer would have ended."""
    return text[: min((at for stop in until if stop and (at := text.find(stop)) >= 0), default=len(text))]


def answered(
    items: Sequence[Item], answers: Answers, path: Path, benchmark: BenchmarkConfig, until: Sequence[str]
) -> list[Item]:
    """The items that have an answer, with it; those without one are left out.

    Args:   until: stop strings, at which given texts end; kept ones ended there when they were generated.
    Raises: UserError for an answer to an item that is not asked.
    """
    by_name = {(item.task, item.item_id): item for item in items}
    tasks = {item.task for item in items}
    alone = next(iter(tasks)) if len(tasks) == 1 else None  # a benchmark without tasks may be named as one
    for (task, doc_id), given in answers.items():
        name = alone if alone is not None and task == benchmark.name else task
        if (item := by_name.get((name, doc_id))) is None:
            raise UserError(_unknown(task, doc_id, given, items, path, benchmark))
        item.outputs = given.outputs if given.kept is not None else [cut(text, until) for text in given.outputs]
        if given.kept is not None:
            item.prompt = str(given.kept["prompt"])
            item.endings, item.truncated = list(given.kept.get("endings", ())), given.kept.get("truncated")
    return [item for item in items if item.outputs]


def _unknown(
    task: str, doc_id: int, given: Given, items: Sequence[Item], path: Path, benchmark: BenchmarkConfig
) -> str:
    where = f"{path}, line {given.where[0]}"
    tasks = sorted({item.task for item in items})
    if task not in (*tasks, benchmark.name):
        return (
            f"{where}: {benchmark.name} as the profile asks it has no task '{task}'.{did_you_mean(task, tasks)} "
            f"Its tasks: {', '.join(tasks)}"
        )
    return (
        f"{where}: {task} has no item {doc_id} among those that the profile asks; `selectit evaluate --show "
        f"{benchmark.name} --items all --out prompts.jsonl` lists them"
    )


def read_choices(items: Sequence[Item]) -> None:
    """Of multiple choice: a letter that was given is the answer; kept log-probabilities are compared again."""
    for item in items:
        first = item.outputs[0]
        if isinstance(first, float):
            choose(item)
            continue
        letter = str(first).strip().strip("().").upper()
        item.answer = letter if letter and letter in CHOICES else None
        item.outcomes = ["unparsed" if item.answer is None else "read"]
        item.score = float(item.answer == item.target)
