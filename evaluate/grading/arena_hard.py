"""Arena-Hard: two games a question against the baseline's answer, in both orders, and the share of them that is won.

Writes model_answer.jsonl, the form in which Arena-Hard's own tool keeps answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from selectit.data.jsonl import write_jsonl
from selectit.evaluate.judge.base import AnswerPair, LeftOut
from selectit.evaluate.judge.verdict import GAMES
from selectit.evaluate.results import Item, Metric

ANSWERS_FILE = "model_answer.jsonl"
METRIC = "win_rate"
STRONG_GAMES = 3
"""Games that a verdict of `much better` counts as."""
NUM_RESAMPLES, SEED = 100, 42
Games = tuple[str | None, str | None]
"""Verdicts: the baseline shown first, then the model shown first; None: left out."""


@runtime_checkable
class GamesJudge(Protocol):
    def play(self, comparisons: Sequence[AnswerPair], advance: Callable[[int], None]) -> list[Games]:
        """Raises: UserError where the judge could not be asked; the verdicts that came are not asked for again."""

    def left_out(self) -> LeftOut | None:
        """The games that the last `play` lacks, if any."""


def write_answers(items: Sequence[Item], model: str, out: Path) -> None:
    lines = (
        {
            "question_id": item.doc["id"],
            "model_id": model,
            "choices": [{"index": 0, "turns": [{"content": item.outputs[0]}]}],
        }
        for item in items
    )
    write_jsonl(out / ANSWERS_FILE, lines)


def win_rate(items: Sequence[Item], judge: GamesJudge, advance: Callable[[int], None]) -> dict[str, Metric]:
    """The share of the games that the model wins, a tie being half of one; each item gets its verdicts.

    A game without a verdict is left out, as in Arena-Hard's code; {} where too many are.
    Against one baseline this is the win rate of Arena-Hard's fitted Bradley-Terry model. Its interval is that of
    Arena-Hard's code: 100 resamples of the games, the 2.5th and 97.5th percentile. Source: arena-hard-auto,
    show_result.py, without style control.
    """
    played = judge.play([AnswerPair(i.doc["instruction"], i.doc["output"], i.outputs[0]) for i in items], advance)
    games: list[float] = []
    for item, verdicts in zip(items, played, strict=True):
        own = [score for one in _scores(verdicts) for score in one]
        item.score = sum(own) / len(own) if own else None
        item.details = {"verdicts": list(verdicts)}
        games += own
    left_out = judge.left_out()
    if left_out is not None and left_out.is_too_many:
        return {}
    drawn = np.random.default_rng(SEED).choice(games, size=(NUM_RESAMPLES, len(games))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        METRIC: Metric(float(np.mean(games)), float(drawn.std(ddof=1)), len(items)),
        "win_rate_low": Metric(float(low), None, len(items)),
        "win_rate_high": Metric(float(high), None, len(items)),
    }


def _scores(verdicts: Games) -> list[list[float]]:
    """What the model gets in either game, as often as the game counts; nothing for one without a verdict."""
    gained = [None if verdict is None else GAMES[verdict] for verdict in verdicts]
    scores = (gained[0], None if gained[1] is None else 1 - gained[1])
    counts = [STRONG_GAMES if verdict is not None and ">>" in verdict else 1 for verdict in verdicts]
    return [[score] * count for score, count in zip(scores, counts, strict=True) if score is not None]
