"""Answers that were paid for: one line each in a JSONL file per judge, on disk before the answer is used.

A line that a kill left torn is passed over, and costs its one answer. Several processes may append to one file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from selectit.artifact import check_writable


@dataclass(frozen=True)
class Answer:
    verdict: float
    """Probability that the output shown second is the better one."""
    text: str
    input_tokens: int
    output_tokens: int
    answered_by: str
    """The model as the endpoint names it in its answer, such as a dated version."""


class AnswerCache:
    """Args:   path: the file; its folder is made.
    Raises: UserError where the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        check_writable(path.parent)
        self._path, self._lock = path, FileLock(path.with_suffix(".lock"))
        self._answers = _read(path)

    def find(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def keep(self, key: str, answer: Answer) -> None:
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False).encode() + b"\n"
        with self._lock, self._path.open("a+b") as f:
            if f.tell() and not _ends_a_line(f):
                line = b"\n" + line  # what a kill left torn must not swallow this answer
            f.write(line)
            f.flush()
            os.fsync(f.fileno())
        self._answers[key] = answer


def _ends_a_line(f: Any) -> bool:
    f.seek(-1, os.SEEK_END)
    return f.read(1) == b"\n"


def _read(path: Path) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    if not path.is_file():
        return answers
    for line in path.read_bytes().splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        key = fields.pop("key")
        answers[key] = Answer(**fields)
    return answers
