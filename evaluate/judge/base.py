"""Judges: which of two answers to an instruction is preferred, and which judge a setting names.

`hf:<model>` is a model in this process (local.py), a mapping one behind an endpoint (endpoint.py). Imports neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

JUDGE_AGAIN = (
    "`selectit evaluate --regrade FOLDER --out OTHER --judge ...`, with the folder of this result, judges its answers"
)
"""The next command where a result lacks its judgements; nothing is generated again."""


@dataclass(frozen=True)
class AnswerPair:
    instruction: str
    reference: str
    output: str
    """Of the model that is evaluated."""


@dataclass(frozen=True)
class LeftOut:
    """Judgements without a verdict: the judge refused them, or nothing could be read in its answers."""

    judge: str
    num_judgements: int
    num_refused: int
    num_unreadable: int
    max_missing: float
    reasons: str
    """The most common ones, with their counts."""

    @property
    def num(self) -> int:
        return self.num_refused + self.num_unreadable

    @property
    def is_too_many(self) -> bool:
        return self.num / self.num_judgements > self.max_missing

    def __str__(self) -> str:
        return (
            f"{self.num} of {self.num_judgements} judgements of {self.judge} are missing ({self.num_refused} refused, "
            f"{self.num_unreadable} unreadable: {self.reasons})"
        )

    def note(self) -> str:
        return f"{self}; they are left out of the mean, and at most {self.max_missing:.2%} may be"

    def reason(self) -> str:
        return (
            f"not judged: {self}, and evaluate.judge.max_missing allows {self.max_missing:.2%}. "
            f"{JUDGE_AGAIN} with other settings (max_tokens, verdict, prompt, extra_body, another model) or a higher "
            "max_missing; verdicts that were paid are not asked again"
        )


class Judge(Protocol):
    def describe(self) -> dict[str, str]:
        """What a win rate must agree in to be compared with another: name, prompt_sha256 and the like."""

    def check(self) -> None:
        """Raises: UserError where this judge cannot judge, found out before anything is spent."""

    def compare(self, comparisons: Sequence[AnswerPair], advance: Callable[[int], None]) -> list[float | None]:
        """Probability that each output is better than its reference; 0.5 for equal ones, None for those left out.

        Raises: UserError where the judge could not be asked; the answers that came are not asked for again.
        """

    def left_out(self) -> LeftOut | None:
        """The judgements that the last `compare` lacks, if any."""

    def usage(self) -> dict[str, Any] | None:
        """What the last `compare` took; None for a judge that costs nothing but time."""

    def notes(self) -> list[str]:
        """What a reader must know of the last `compare`."""
