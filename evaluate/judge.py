"""Judges: which of two answers to an instruction is preferred, and which judge a setting names.

`hf:<model>` is a model in this process (judge_hf.py), a mapping one behind an endpoint (judge_api.py). Imports neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from selectit.config import JudgeSetting
from selectit.errors import UserError


@dataclass(frozen=True)
class Comparison:
    instruction: str
    reference: str
    output: str
    """Of the model that is evaluated."""


class Judge(Protocol):
    def describe(self) -> dict[str, str]:
        """What a win rate must agree in to be compared with another: name, prompt_sha256 and the like."""

    def check(self) -> None:
        """Raises: UserError where this judge cannot judge, found out before anything is spent."""

    def compare(self, comparisons: Sequence[Comparison], advance: Callable[[int], None]) -> list[float]:
        """Probability that each output is better than its reference; 0.5 for equal ones.

        Raises: UserError where an answer is missing; those that came are not asked for again.
        """

    def usage(self) -> dict[str, Any] | None:
        """What the last `compare` took; None for a judge that costs nothing but time."""

    def notes(self) -> list[str]:
        """What a reader must know of the last `compare`."""


def load_judge(judge: JudgeSetting, games: bool = False) -> Judge:
    """Args:   games: Arena-Hard's verdicts are wanted, which only a judge behind an endpoint gives.
    Raises: UserError for a judge that is not known or cannot be used; nothing heavy is loaded yet.
    """
    if not isinstance(judge, str):
        try:
            from selectit.evaluate.judge_api import EndpointJudge, GamesEndpointJudge
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise UserError(
                f"evaluate.judge: {judge.model} is asked through the package openai, which is not installed; "
                "pip install 'selectit[judge]' (in a checkout: pip install -e '.[judge]' -c constraints.txt)"
            ) from error
        return GamesEndpointJudge(judge) if games else EndpointJudge(judge)
    kind, _, model = judge.partition(":")
    if kind != "hf" or not model:
        raise UserError(
            f"evaluate.judge: '{judge}' is not a judge; write hf:<folder or hub id of a model>, or for a judge behind "
            "an endpoint a mapping such as {model: gpt-4-turbo, base_url: https://api.openai.com/v1}"
        )
    from selectit.evaluate.judge_hf import LogProbabilityJudge

    return LogProbabilityJudge(model)


@cache  # a trial of a judge that answered is not repeated for every stage
def check_judge(judge: JudgeSetting) -> None:
    """Raises: UserError where the judge cannot judge."""
    load_judge(judge).check()
