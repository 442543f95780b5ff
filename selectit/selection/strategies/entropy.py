"""Rows by how undecided a model is while it reads the response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from selectit.config import ArmConfig, Need, NeedsLosses, SelectTemplate
from selectit.selection.by_loss import entropies_of, failures_of, model_and_template
from selectit.selection.strategy import Candidates, RatioStrategy, Scored, json_number


class EntropySelect(RatioStrategy):
    """By the entropy of the model's next-token distributions, over the response."""

    strategy: Literal["entropy"]
    keep: Literal["highest", "middle", "lowest"] = "highest"
    """highest, lowest: that end; middle: as many rows above as below, of those that have an entropy."""
    template: SelectTemplate = "training"
    """The form in which the row is read; training: that of `finetune.template`."""

    def needs(self) -> tuple[Need, ...]:
        return (NeedsLosses("conditioned", "conditioned", self.template, entropy=True),)

    def score_name(self) -> str:
        return f"{'minus the ' if self.keep == 'lowest' else ''}mean entropy (nats per token)"

    def scores(self, pool: Candidates) -> Scored:
        """Mean over the response tokens; for `lowest`, its negative."""
        losses = pool.losses("conditioned")
        entropies = entropies_of(losses, pool.inputs["conditioned"])
        return Scored(
            -entropies if self.keep == "lowest" else entropies,
            failures_of(losses),
            details=lambda at: {
                "response_entropy": json_number(entropies[at]),
                "response_loss": json_number(losses.response[at]),
                "num_response_tokens": int(losses.num_response_tokens[at]),
            },
        )

    def arranged(self, order: Sequence[int], num_eligible: int, count: int) -> Sequence[int]:
        if self.keep != "middle":
            return order
        start = (num_eligible - count) // 2
        return [*order[start:num_eligible], *order[:start], *order[num_eligible:]]

    def sentence(self, arm: ArmConfig) -> str:
        return f"the {self.keep} over the response, {model_and_template(arm, self.template)}"
