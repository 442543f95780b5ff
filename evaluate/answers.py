"""Answers on disk as they come, in answers.jsonl of the stage's folder: what a killed run had is not asked again.

The folder belongs to one fingerprint, and so to one model; a line's key holds everything else of its request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.evaluate.requests import Answer, Batch, Request, request_key

ANSWERS_FILE = "answers.jsonl"


class Answers:
    """Args:
    out: the stage's folder.
    model: what answers depend on beside the fingerprint: the number format and the device that a run found.
    """

    def __init__(self, out: Path, model: Mapping[str, Any]) -> None:
        self._path, self._model = out / ANSWERS_FILE, dict(model)
        self._found: dict[str, Answer] = {}
        content = self._path.read_bytes() if self._path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            key, *found = json.loads(line)
            if len(found) == 3:  # else of a release that did not say how an answer ended
                self._found[key] = Answer(*found)
        if len(whole) < len(content):  # the line that a killed run was writing
            self._path.write_bytes(whole)

    def of(self, batch: Batch) -> list[Answer] | None:
        """None where one is missing: a batch is answered as a whole, or rounding would differ after a restart."""
        found = [self._found.get(self._key(request)) for request in batch.requests]
        return [answer for answer in found if answer is not None] if all(found) else None

    def add(self, batch: Batch, answers: Sequence[Answer]) -> None:
        lines = []
        for request, answer in zip(batch.requests, answers, strict=True):
            key = self._key(request)
            self._found[key] = answer
            lines.append(json.dumps([key, answer.value, answer.num_tokens, answer.ending]) + "\n")
        with self._path.open("a", encoding="utf-8") as f:
            f.write("".join(lines))

    def drop(self) -> None:
        """Once the items are written."""
        self._path.unlink(missing_ok=True)

    def _key(self, request: Request) -> str:
        return request_key(request, self._model)
