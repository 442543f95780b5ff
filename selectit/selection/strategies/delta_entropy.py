"""Rows by what a little training changes in a model's entropy on them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from selectit.config import ArmConfig, Need, NeedsLosses, NeedsModelOfArm, SelectTemplate, execution
from selectit.errors import UserError
from selectit.selection.by_loss import entropies_of, failures_of, model_and_template
from selectit.selection.ranking import num_selected
from selectit.selection.strategy import Candidates, Scored, ShareStrategy, json_number

LOSS_CHANGE = "loss_change"


class DeltaEntropySelect(ShareStrategy):
    """Rows whose entropy rises most, or falls least, under a model that another arm trained (InstructDiff)."""

    strategy: Literal["delta_entropy"]
    calibrated: str = execution(...)
    """Name of the arm whose trained model is compared with its base, such as one of 10 % random rows; the identity
    holds what that model computes, not the arm's name."""
    filtered: float = Field(0.1, ge=0, lt=0.5)
    """Share of the rows that is left out at each end: where training lowered the loss least, and most."""
    budget: Literal["tokens", "rows"] = "tokens"
    """What `ratio` is a share of: the tokens of all responses, the row that crosses it taken too, or the rows."""
    template: SelectTemplate = "training"
    """The form in which the row is read; training: that of `finetune.template`."""

    def needs(self) -> tuple[Need, ...]:
        return (
            NeedsLosses("base", "conditioned", self.template, entropy=True),
            NeedsLosses(
                "tuned", "conditioned", self.template, entropy=True,
                model_of=NeedsModelOfArm("calibrated", self.calibrated),
            ),
        )  # fmt: skip

    def score_name(self) -> str:
        return "calibrated minus base entropy (nats per token)"

    def check_arm(self, arm: ArmConfig) -> None:
        if arm.raters[0].path != arm.model.path or arm.raters[0].revision != arm.model.revision:
            raise UserError(
                f"select.strategy delta_entropy compares a trained model with its base, and score.models names "
                f"{arm.raters[0].path} where the arm trains {arm.model.path}; leave score.models out"
            )

    def check_size(self, num_rows: int, num_eligible: int) -> None:
        if self.budget == "rows":
            num_selected(self.ratio, num_rows, num_eligible - 2 * int(num_eligible * self.filtered))

    def scores(self, pool: Candidates) -> Scored:
        """H(calibrated) - H(base) over the response. Ties go by the change of the loss, and then by the row."""
        base, tuned = pool.losses("base"), pool.losses("tuned")
        change = entropies_of(tuned, pool.inputs["tuned"]) - entropies_of(base, pool.inputs["base"])
        loss_change = base.response - tuned.response  # above 0 where training lowered it
        failures = {**failures_of(tuned), **failures_of(base)}
        read = np.flatnonzero(pool.usable & np.isfinite(change) & np.isfinite(loss_change))
        order, cut = ordered(change[read], loss_change[read], self.filtered)
        kept, left_out = read[order], dict.fromkeys(read[cut].tolist(), LOSS_CHANGE)
        tokens = base.num_response_tokens
        if not len(kept):
            raise UserError("delta_entropy: no row of the pool has an entropy by both models")
        if self.budget == "tokens":
            count = num_within(tokens[kept], int(self.ratio * int(tokens[read].sum())))
        else:
            count = self.count(len(pool), len(kept))
        return Scored(
            change,
            {at: why for at, why in failures.items() if pool.failures[at] is None},
            left_out,
            details=lambda at: {
                "entropy_change": json_number(change[at]),
                "loss_change": json_number(loss_change[at]),
                "num_response_tokens": int(tokens[at]),
            },
            record={"num_tokens_of_pool": int(tokens[read].sum()), "num_filtered_by_loss_change": len(cut)},
            taken=kept[:count],
        )

    def sentence(self, arm: ArmConfig) -> str:
        which = f"the largest rise of entropy from the base to the model of {self.calibrated}"
        by = f"{self.filtered:g} left out at each end of the loss change, ratio of {self.budget}"
        return f"{which}, {by}, {model_and_template(arm, self.template)}"


def ordered(change: np.ndarray, loss_change: np.ndarray, filtered: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the order in which they are taken, and those that the filter at both ends leaves out.

    Args:   change: float64 [num_rows], calibrated minus base entropy; loss_change: base minus calibrated loss.
    Source: InstructDiff (28adfe3), selection.py: ascending by the loss change, int(n * filtered) rows off each end,
        then ascending by base minus calibrated entropy, both stable.
    """
    by_loss = np.argsort(loss_change, kind="stable") if filtered else np.arange(len(loss_change))
    cut = int(len(by_loss) * filtered)
    kept = by_loss[cut : len(by_loss) - cut] if 2 * cut < len(by_loss) else by_loss
    return kept[np.argsort(-change[kept], kind="stable")], np.setdiff1d(by_loss, kept)


def num_within(num_tokens: np.ndarray, budget: int) -> int:
    """Rows until their sum reaches the budget, the one that crosses it among them; all where it is never reached."""
    return min(int(np.searchsorted(np.cumsum(num_tokens), budget)) + 1, len(num_tokens))
