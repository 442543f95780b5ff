"""Single items of two evaluations, to be read: what was asked, what each model answered, how each was graded.

Reads items.jsonl of evaluate artifacts. Long texts lose their middle.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from selectit.data.jsonl_columns import read_columns
from selectit.report.render.formats import count
from selectit.report.sections.contamination import shared_words
from selectit.statistics.items import ItemScores

MOST_PROMPT_CHARS = 700
MOST_ANSWER_CHARS = 500
PROMPTS = pa.schema([("task", pa.string()), ("item_id", pa.int64()), ("prompt", pa.string())])

Key = tuple[str, int]
"""Task and item id."""


@dataclass(frozen=True)
class GradedAnswer:
    text: str
    read_as: str
    """What the grader read in it; empty where that is the text itself, or where nothing is read."""
    score: float


@dataclass(frozen=True)
class ItemPair:
    """One item with the answers of two models."""

    task: str
    item_id: int
    prompt: str
    """Without what all prompts of its task begin with: instructions and worked examples."""
    target: str
    ours: GradedAnswer
    theirs: GradedAnswer


@dataclass(frozen=True)
class Differing:
    """The items of a benchmark that two models score differently."""

    keys: tuple[Key, ...]
    """All that both have a score for."""
    higher: tuple[Key, ...]
    """Those with a higher score of the first model, in the order of the keys; of 0 and 1: that only it solves."""
    lower: tuple[Key, ...]
    apart: Mapping[Key, float]
    """First model's score less the second's."""


def differing(ours: ItemScores, theirs: ItemScores) -> Differing:
    score = dict(zip(theirs.keys, theirs.scores.tolist(), strict=True))
    apart = {key: own - score[key] for key, own in zip(ours.keys, ours.scores.tolist(), strict=True) if key in score}
    apart = {key: value for key, value in apart.items() if not np.isnan(value)}
    higher = tuple(key for key, value in apart.items() if value > 0)
    return Differing(tuple(apart), higher, tuple(key for key, value in apart.items() if value < 0), apart)


def chosen(found: Differing, most: int) -> list[Key]:
    """At most so many of them, half from each side where both have enough: the largest differences, of equal ones
    a selection that is spread over the items, so that not all are of the first task.
    """
    half = most // 2
    num_higher = min(len(found.higher), max(half, most - len(found.lower)))
    num_lower = min(len(found.lower), most - num_higher)
    kept = {*_largest(found, found.higher, num_higher), *_largest(found, found.lower, num_lower)}
    return [key for side in (found.higher, found.lower) for key in side if key in kept]


def _largest(found: Differing, keys: Sequence[Key], number: int) -> list[Key]:
    if number == 0:
        return []
    cut = sorted((abs(found.apart[key]) for key in keys), reverse=True)[number - 1]
    above = [key for key in keys if abs(found.apart[key]) > cut]
    equal = [key for key in keys if abs(found.apart[key]) == cut]
    rest = number - len(above)
    return above + [equal[at * len(equal) // rest] for at in range(rest)]


def read_pairs(ours: Path, theirs: Path, keys: Sequence[Key], whole: bool = False) -> list[ItemPair]:
    """The items of two items.jsonl with these keys, in their order.

    Args: whole: prompts and answers as they are, with what all prompts of the task begin with.
    """
    wanted = set(keys)
    one, other = _lines(ours, wanted), _lines(theirs, wanted)
    starts = {} if whole else _shared_starts(ours, {task for task, _ in keys})
    most_prompt, most_answer = (None, None) if whole else (MOST_PROMPT_CHARS, MOST_ANSWER_CHARS)
    return [
        ItemPair(
            *key,
            shortened(one[key].get("prompt", "")[starts.get(key[0], 0) :].strip("\n"), most_prompt),
            shortened(_text(one[key].get("target")), most_answer),
            _answer(one[key], most_answer),
            _answer(other[key], most_answer),
        )
        for key in keys
    ]


def _lines(path: Path, keys: Collection[Key]) -> dict[Key, dict[str, Any]]:
    found = {}
    with path.open(encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            if (key := (line["task"], line["item_id"])) in keys:
                found[key] = line
    return found


def _shared_starts(path: Path, tasks: Collection[str]) -> dict[str, int]:
    """Characters with which all prompts of each task begin, in whole lines: no question loses its first words."""
    table = read_columns(path, PROMPTS)
    of_task: dict[str, list[str]] = {}
    for task, prompt in zip(table["task"].to_pylist(), table["prompt"].to_pylist(), strict=True):
        if task in tasks and prompt is not None:
            of_task.setdefault(task, []).append(prompt)
    ends = {task: (min(prompts), shared_words(min(prompts), max(prompts))) for task, prompts in of_task.items()}
    return {task: prompt.rfind("\n", 0, end) + 1 for task, (prompt, end) in ends.items()}


def _answer(line: Mapping[str, Any], most: int | None) -> GradedAnswer:
    outputs = line.get("outputs") or []
    text, answer = "", _text(line.get("answer"))
    if not outputs:
        text = "(no output was recorded)"
    elif isinstance(outputs[0], str):
        text = outputs[0] + (f"\n(the first of {len(outputs)} completions)" if len(outputs) > 1 else "")
    else:  # log-probabilities of the choices, or the first tokens with theirs
        numbers = [f"{x:.2f}" if isinstance(x, int | float) else f"{x[0]!r} {x[1]:.2f}" for x in outputs]
        text = f"{answer or 'no choice'} (log-probabilities {', '.join(numbers)})"
        answer = ""
    return GradedAnswer(shortened(text, most), "" if answer == text.strip() else shortened(answer, most), line["score"])


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shortened(text: str, most: int | None) -> str:
    """A text without its middle, whose characters are counted, where it is longer than `most`."""
    if most is None or len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {count(len(text) - 2 * half)} characters ...]\n{text[-half:]}"
