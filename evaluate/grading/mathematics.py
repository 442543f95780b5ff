"""Mathematics: an answer is right where math-verify finds it equal to a published one; avg@k means k samples.

math-verify runs in processes of its own (mathematics_grader.py), which end where a formula does not.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from statistics import fmean
from typing import Any

from selectit.errors import UserError
from selectit.evaluate.benchmarks.final_answers import boxed
from selectit.evaluate.grading.answer_phrases import without
from selectit.evaluate.results import Item, Metric, mean_metric

LIMITS = {"seconds": 10, "last_seconds": 20}
"""Of processor time for an answer, so that a busy machine grades like an idle one; the grader states why two."""
WALL_SECONDS = 300
"""After which a grader is ended that neither works nor answers."""
UNPARSED = "no final answer was found"
"""As the grader reports it."""


@dataclass(frozen=True)
class Grade:
    right: bool
    reason: str
    """Why it is not right; empty where it is."""
    answer: str | None = None
    """What math-verify read out of the text."""


def check_installed() -> None:
    """Raises: UserError that names the extra."""
    if find_spec("math_verify") is None:
        raise UserError(
            "the mathematics benchmarks are graded by math-verify, which is not installed; pip install "
            "'selectit[math]' (in a checkout: pip install -e '.[math]' -c constraints.txt)"
        )


def score(items: Sequence[Item], metric: str, advance: Callable[[int], None]) -> dict[str, Metric]:
    """Mean and standard error over problems, the samples of a problem averaged first; each item gets its own.

    Args: advance: called with the number of answers that were graded.
    """
    asked = [_asked(item, answer) for item in items for answer in item.outputs]
    different = list(dict.fromkeys(asked))
    grades = dict(zip(different, grade_all(different, advance), strict=True))
    advance(len(asked) - len(different))
    for item in items:
        found = [grades[_asked(item, answer)] for answer in item.outputs]
        item.score = fmean(grade.right for grade in found)
        item.answer = found[0].answer
        item.outcomes = ["unparsed" if one.reason == UNPARSED else "read" for one in found]
        item.details = {"right": [one.right for one in found], "reasons": [one.reason for one in found]}
    return {metric: mean_metric([item.score for item in items if item.score is not None])}


def _asked(item: Item, answer: str) -> tuple[tuple[str, ...], str]:
    """The published answers and the text without copies of the problem, which may be worth as much as its answer."""
    return tuple(item.doc["final_answers"]), without(answer, item.doc["problem"])


def notes(items: Sequence[Item]) -> list[str]:
    """The items that nothing got right and whose published answer is not right for itself: no model can."""
    wrong = [item for item in items if not item.score]
    asked = [(tuple(item.doc["final_answers"]), boxed(item.doc["final_answers"][0])) for item in wrong]
    grades = grade_all(asked, lambda number: None) if asked else []
    names = [str(item.item_id) for item, grade in zip(wrong, grades, strict=True) if not grade.right]
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [
        f"{len(names)} of {len(items)} items count as wrong whatever is answered, for math-verify does not find their "
        f"published answer equal to itself: {'items' if len(names) > 1 else 'item'} {shown}"
    ]


def grade_all(answers: Sequence[tuple[tuple[str, ...], str]], advance: Callable[[int], None]) -> list[Grade]:
    """Args: answers: (forms of the right answer, the model's text)."""
    num_graders = min(len(answers), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    free: queue.SimpleQueue[_Grader] = queue.SimpleQueue()
    graders = [_Grader() for _ in range(num_graders)]
    for grader in graders:
        free.put(grader)

    def grade(asked: tuple[tuple[str, ...], str]) -> Grade:
        grader = free.get()
        try:
            return grader.grade(*asked)
        finally:
            free.put(grader)
            advance(1)

    try:
        with ThreadPoolExecutor(max_workers=max(num_graders, 1)) as pool:
            return list(pool.map(grade, answers))
    finally:
        for grader in graders:
            grader.stop()


class _Grader:
    """A process with math-verify, started when it is first asked and again after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def grade(self, final_answers: tuple[str, ...], answer: str) -> Grade:
        with self._started() as process:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(json.dumps({"final_answers": final_answers, "answer": answer, **LIMITS}) + "\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], WALL_SECONDS)
                line = process.stdout.readline() if ready else ""
            except BrokenPipeError:
                line = ""
        if not line:  # the kernel ended it for its processor time or memory, or it is stuck
            self.stop()
            return Grade(False, "timed out")
        reply: dict[str, Any] = json.loads(line)
        return Grade(reply["right"], reply["reason"], reply["read"])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @contextmanager
    def _started(self) -> Any:
        if self._process is None:
            source = (files("selectit.evaluate.grading") / "mathematics_grader.py").read_text(encoding="utf-8")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", source],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            )  # fmt: skip
        yield self._process
