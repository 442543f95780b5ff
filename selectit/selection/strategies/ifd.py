"""Rows by instruction-following difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from selectit.config import ArmConfig, Need, NeedsLosses, SelectTemplate
from selectit.errors import UserError
from selectit.scoring.loss_ledger import NOT_FINITE
from selectit.selection.by_loss import failures_of, model_and_template, refuse_nothing, template_of
from selectit.selection.strategy import Candidates, RatioStrategy, Scored, json_number
from selectit.templates import RESPONSE_MARKER, template_name

ABOVE_ONE = "ifd_above_one"


class IFDSelect(RatioStrategy):
    """By instruction-following difficulty: how little the instruction helps to predict the response."""

    strategy: Literal["ifd"]
    form: Literal["loss_ratio", "perplexity_ratio"] = "loss_ratio"
    """Given the instruction over without it: of mean losses (Cherry) or of perplexities (Superfiltering)."""
    unconditioned: Literal["marker", "bare"] = "marker"
    """The response without its instruction: behind the template's response marker (Cherry), or alone
    (Superfiltering)."""
    template: SelectTemplate = "training"
    """The form in which the row is read; training: that of `finetune.template`."""

    def needs(self) -> tuple[Need, ...]:
        return (
            NeedsLosses("conditioned", "conditioned", self.template),
            NeedsLosses("unconditioned", self.unconditioned, self.template),
        )

    def score_name(self) -> str:
        return "IFD (ratio)"

    def check_arm(self, arm: ArmConfig) -> None:
        template = template_of(arm, self.template)
        if self.unconditioned == "marker" and template not in RESPONSE_MARKER:
            raise UserError(
                f"select.unconditioned is marker, and template '{template_name(template)}' has no response marker; "
                f"set it to bare, or select.template to {' or '.join(RESPONSE_MARKER)}"
            )

    def scores(self, pool: Candidates) -> Scored:
        """Instruction-following difficulty; a row above 1, whose instruction hinders, is a failure."""
        conditioned, alone = pool.losses("conditioned"), pool.losses("unconditioned")
        values = ifd(conditioned.response, alone.response, self.form)
        failures = {**failures_of(alone), **failures_of(conditioned)}
        for at in range(len(pool)):
            if at not in failures and not np.isfinite(values[at]):
                failures[at] = NOT_FINITE
            elif at not in failures and values[at] > 1:
                failures[at] = ABOVE_ONE
        refuse_nothing(values, pool.inputs["conditioned"])
        return Scored(
            values,
            failures,
            details=lambda at: {
                "ifd": json_number(values[at]),
                "conditioned_loss": json_number(conditioned.response[at]),
                "unconditioned_loss": json_number(alone.response[at]),
                "num_response_tokens": int(conditioned.num_response_tokens[at]),
            },
        )

    def sentence(self, arm: ArmConfig) -> str:
        form = self.form.replace("_", " ")
        alone = {"marker": "behind its marker", "bare": "alone"}[self.unconditioned]
        by = model_and_template(arm, self.template)
        return f"the highest {form} up to 1, response given its instruction to response {alone}, {by}"

    def notes(self, selection: Mapping[str, Any]) -> list[str]:
        above = selection["failures"].get(ABOVE_ONE, 0)
        return [f"{above:,} of {selection['num_rows']:,} rows have an IFD above 1 and are ranked last"]


def ifd(conditioned: np.ndarray, alone: np.ndarray, form: Literal["loss_ratio", "perplexity_ratio"]) -> np.ndarray:
    """Args: conditioned, alone: mean loss of each response, in nats.

    Source: Cherry_LLM divides the mean losses, Superfiltering the perplexities.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return conditioned / alone if form == "loss_ratio" else np.exp(conditioned - alone)
