"""Answers that were paid for: one line each in a JSONL file per judge, on disk before the answer is used.

A line that is not a whole answer (torn by a kill, damaged, of another shape) is passed over, and costs its one answer.
Several processes may append to one file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from selectit.data.jsonl import append_jsonl, whole_lines
from selectit.errors import UserError
from selectit.evaluate.judge.completion import is_probability, token_count
from selectit.store.runs_folder import check_writable


@dataclass(frozen=True)
class JudgeAnswer:
    verdict: float
    """Probability that the output shown second is the better one."""
    text: str
    input_tokens: int | None
    output_tokens: int | None
    """None where the endpoint gave no count."""
    answered_by: str
    """The model as the endpoint names it in its answer, such as a dated version."""


class AnswerCache:
    """Args:   path: the file; its folder is made.
    Raises: UserError where the folder cannot be written, or the file not be read.
    """

    def __init__(self, path: Path) -> None:
        check_writable(path.parent)
        self._path, self._lock = path, FileLock(path.with_suffix(".lock"))
        self._answers = _read(path)

    def find(self, key: str) -> JudgeAnswer | None:
        return self._answers.get(key)

    def keep(self, key: str, answer: JudgeAnswer) -> None:
        with self._lock:
            append_jsonl(self._path, [{"key": key, **asdict(answer)}], durable=True)
        self._answers[key] = answer


def _read(path: Path) -> dict[str, JudgeAnswer]:
    try:
        found = list(whole_lines(path))
    except OSError as error:
        raise UserError(
            f"evaluate.judge.cache: {path} cannot be read ({error.strerror}); move it away, or name another folder"
        ) from error
    return {line["key"]: answer for line in found if (answer := _answer(line)) is not None}


def _answer(found: Any) -> JudgeAnswer | None:
    """The answer of a line; None where a field is missing or is not what it should be."""
    if not isinstance(found, dict) or set(found) != {"key", *JudgeAnswer.__dataclass_fields__}:
        return None
    texts, counts = (found["key"], found["text"], found["answered_by"]), (found["input_tokens"], found["output_tokens"])
    if not all(isinstance(text, str) for text in texts) or not is_probability(found["verdict"]):
        return None
    if any(count is not None and token_count(count) is None for count in counts):
        return None
    return JudgeAnswer(**{name: value for name, value in found.items() if name != "key"})
