"""What a person has to know of finished ratings, in sentences; reads what score.json holds, and loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READ_ALONE = "texts were read one at a time: padding, or other texts in a batch, would change the numbers of this model"
NO_SPREAD = 1e-6
"""Shares that differ by less differ by the rounding of float32 alone."""


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What a person has to know of finished ratings. Args: summary: what score.json holds."""
    found = []
    if summary["reads_alone"]:
        found.append(READ_ALONE)
    if summary["text_alone"]:
        found.append(
            "the rater's tokenizer parts the end of a rating text otherwise once a rating follows; the text's own "
            "tokens are read, as the released code does"
        )
    if summary["num_over_context"]:
        found.append(
            f"{summary['num_over_context']} rating texts are longer than the model's context of {summary['context']} "
            "tokens; they were rated whole, as the released code does. score.max_length cuts them."
        )
    if summary["failures"]:
        found.append(f"not rated: {failures_text(summary['failures'])}; these rows are ranked last and never selected")
    if answers_alike(summary):
        found.append(
            f"the rater answers every row alike (shares of the ratings differ by {summary['answer_spread']:.0e} at "
            "most): its ratings carry no information about the rows"
        )
    return found


def answers_alike(summary: Mapping[str, Any]) -> bool:
    """Whether more than one row was rated, and all alike. Args: summary: what score.json holds."""
    return summary["num_ratings"] > len(summary["prompts"]) and summary["answer_spread"] < NO_SPREAD


def failures_text(failures: Mapping[str, int]) -> str:
    """Such as `5 no_response_token, 1 lone_surrogate`, the most frequent first."""
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {code}" for code, count in ordered)
