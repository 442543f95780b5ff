"""Arena-Hard's judge behind an endpoint: explains itself, and gives one of five verdicts in either order of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selectit.config import JudgeConfig
from selectit.evaluate.judge.base import AnswerPair
from selectit.evaluate.judge.cache import JudgeAnswer
from selectit.evaluate.judge.endpoint import EndpointJudge
from selectit.evaluate.judge.prompt import arena_hard_prompt
from selectit.evaluate.judge.verdict import verdict_of_game


class GamesEndpointJudge(EndpointJudge):
    def __init__(self, config: JudgeConfig) -> None:
        super().__init__(config)
        self._prompt = arena_hard_prompt()
        self._verdict = "game"

    def play(
        self, comparisons: Sequence[AnswerPair], advance: Callable[[int], None]
    ) -> list[tuple[str | None, str | None]]:
        """The verdicts with the reference shown first and with the output shown first; equal ones are ties."""
        questions = [
            None if one.output == one.reference else self._in_order(one, is_switched)
            for one in comparisons
            for is_switched in (False, True)
        ]
        answers = self._answers(questions, advance)
        verdicts = ["A=B" if q is None else _game(answers.get(q.key)) for q in questions]
        return list(zip(verdicts[::2], verdicts[1::2], strict=True))


def _game(answer: JudgeAnswer | None) -> str | None:
    return None if answer is None else verdict_of_game(answer.text)
