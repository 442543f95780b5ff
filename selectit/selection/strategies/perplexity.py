"""Rows by a model's loss on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from selectit.config import ArmConfig, Need, NeedsLosses, SelectTemplate
from selectit.errors import UserError
from selectit.selection.by_loss import failures_of, model_and_template, refuse_nothing
from selectit.selection.strategy import Candidates, RatioStrategy, Scored, json_number

MID_START = 0.33
"""Share of the rows that stand above the middle; automated-instruction-selection's mid-ppl."""


class PerplexitySelect(RatioStrategy):
    """By the model's loss on each row."""

    strategy: Literal["perplexity"]
    order: Literal["top", "mid", "low"] = "top"
    """top: the highest perplexities; mid: those from rank int(0.33 n) on, highest first; low: the lowest."""
    over: Literal["response", "full"] = "response"
    """response: mean over the response tokens; full: over all tokens of the row, its prompt too."""
    template: SelectTemplate = "training"
    """The form in which the row is read; training: that of `finetune.template`."""

    def needs(self) -> tuple[Need, ...]:
        return (NeedsLosses("conditioned", "conditioned", self.template),)

    def score_name(self) -> str:
        return f"{'minus the ' if self.order == 'low' else ''}mean loss (nats per token)"

    def scores(self, pool: Candidates) -> Scored:
        """Mean negative log-likelihood in nats, which orders rows as perplexity does; for `low`, its negative."""
        losses = pool.losses("conditioned")
        values = losses.response if self.over == "response" else losses.full
        refuse_nothing(values, pool.inputs["conditioned"])
        return Scored(
            -values if self.order == "low" else values,
            failures_of(losses),
            details=lambda at: {
                "response_loss": json_number(losses.response[at]),
                "full_loss": json_number(losses.full[at]),
                "num_response_tokens": int(losses.num_response_tokens[at]),
            },
        )

    def arranged(self, order: Sequence[int], num_eligible: int, count: int) -> Sequence[int]:
        return middle_first(order, num_eligible, count) if self.order == "mid" else order

    def sentence(self, arm: ArmConfig) -> str:
        which = {"top": "the highest", "mid": "the highest from rank int(0.33 n) on", "low": "the lowest"}[self.order]
        over = {"response": "the response", "full": "prompt and response"}[self.over]
        return f"{which} over {over}, {model_and_template(arm, self.template)}"


def middle_first(order: Sequence[int], num_eligible: int, count: int) -> list[int]:
    """An order from the highest loss on, started at rank int(0.33 n) of the n rows that have one.

    Raises: UserError where fewer than `count` rows follow.
    """
    start = int(MID_START * num_eligible)
    if start + count > num_eligible:
        raise UserError(
            f"select.order mid starts at rank {start} of {num_eligible} rows, and {count} rows from there on are more "
            f"than the {num_eligible - start} that follow; lower select.ratio"
        )
    return [*order[start:num_eligible], *order[:start], *order[num_eligible:]]
