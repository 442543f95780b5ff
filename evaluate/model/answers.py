"""Answers on disk as they come, in answers.jsonl of the stage's folder: what a killed run had is not asked again.

A line that is not a whole answer is passed over, and its batch asked again. The folder belongs to one fingerprint, and
so to one model; a line's key holds everything else of its request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from selectit.data.jsonl import append_jsonl, whole_lines
from selectit.inference.batch import Batch
from selectit.inference.requests import Answer, Ending, FirstTokens, Generation, Request, request_key

ANSWERS_FILE = "answers.jsonl"


class Answers:
    """Args:
    out: the stage's folder.
    model: what answers depend on in addition to the fingerprint: the number format and the device that a run found.
    """

    def __init__(self, out: Path, model: Mapping[str, Any]) -> None:
        self._path, self._model = out / ANSWERS_FILE, dict(model)
        self._found: dict[str, Answer] = {}
        for found in whole_lines(self._path):
            # a line of three is of a release that did not record how an answer ended
            if isinstance(found, list) and len(found) == 4 and isinstance(found[0], str):
                self._found[found[0]] = Answer(*found[1:])

    def of(self, batch: Batch[Request]) -> list[Answer] | None:
        """None where one is missing: a batch is answered as a whole, or rounding would differ after a restart."""
        answers = []
        for request in batch.items:
            answer = self._found.get(self._key(request))
            if answer is None or not _is_answer_to(request, answer):
                return None
            answers.append(answer)
        return answers

    def add(self, batch: Batch[Request], answers: Sequence[Answer]) -> None:
        lines = []
        for request, answer in zip(batch.items, answers, strict=True):
            key = self._key(request)
            self._found[key] = answer
            lines.append([key, answer.value, answer.num_tokens, answer.ending])
        append_jsonl(self._path, lines)

    def drop(self) -> None:
        """Once the items are written."""
        self._path.unlink(missing_ok=True)

    def _key(self, request: Request) -> str:
        return request_key(request, self._model)


def _is_answer_to(request: Request, answer: Answer) -> bool:
    value = answer.value
    if not isinstance(answer.num_tokens, int) or isinstance(answer.num_tokens, bool) or answer.num_tokens < 0:
        return False
    if isinstance(request, Generation):
        return isinstance(value, str) and answer.ending in (None, *get_args(Ending))
    if not isinstance(value, list) or answer.ending is not None:
        return False
    if isinstance(request, FirstTokens):
        return len(value) > 0 and all(map(_is_token, value))
    return len(value) == len(request.continuations) and all(map(_is_likelihood, value))


def _is_likelihood(value: Any) -> bool:
    """[log-probability, is greedy]"""
    return isinstance(value, list) and len(value) == 2 and _is_log_probability(value[0]) and isinstance(value[1], bool)


def _is_token(value: Any) -> bool:
    """[token id, log-probability]"""
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int and _is_log_probability(value[1])


def _is_log_probability(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
