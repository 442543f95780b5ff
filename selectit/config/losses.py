"""The configuration of a losses stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from pydantic import field_validator

from selectit.config.inputs import ModelConfig, PoolConfig
from selectit.config.reading import ReadingFields
from selectit.config.schema import TEMPLATES, LocationMark, one_of

LOSS_TEMPLATES = (*TEMPLATES, "plain")
LossTemplate = Annotated[str, LocationMark(keywords=LOSS_TEMPLATES), one_of(*LOSS_TEMPLATES)]
"""The training templates, and `plain`: the instruction, a line end, the response."""
SELECT_TEMPLATES = ("training", *LOSS_TEMPLATES)
SelectTemplate = Annotated[str, LocationMark(keywords=SELECT_TEMPLATES), one_of(*SELECT_TEMPLATES)]
"""The same, and `training`: that of `finetune.template`."""


LossText = Literal["conditioned", "marker", "bare"]
Pooling = Literal["mean", "weighted_mean", "last"]
"""One vector of a text from its last hidden states, behind the final norm: their mean, their mean weighted by position
(1, 2, ...), or the last token's. Prompt and start token are among them."""
LossQuantity = Literal["loss", "entropy", "mean", "weighted_mean", "last"]
"""What one forward pass can give: the loss of each token, the entropy of the distribution that predicts it, and each
`Pooling`."""
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class LossStage(ReadingFields):
    """One model over one pool: how well it predicts the responses, with their instructions or without."""

    pool: PoolConfig
    model: ModelConfig
    text: LossText
    """conditioned: the row in its template; marker: the response behind the template's response marker; bare: the
    response alone. The response's token ids are the same in all three. Beyond max_length it loses its end in all."""
    template: LossTemplate
    quantities: tuple[LossQuantity, ...] = ("loss",)
    """What is kept of the one forward pass; loss is always there."""

    @field_validator("quantities")
    @classmethod
    def _in_one_order(cls, value: tuple[LossQuantity, ...]) -> tuple[LossQuantity, ...]:
        if value != (ordered := ordered_quantities(value)):
            raise ValueError(f"quantities must be {', '.join(ordered)}, in this order")
        return value

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        return tuple(name for name in POOLINGS if name in self.quantities)


def ordered_quantities(wanted: Iterable[LossQuantity]) -> tuple[LossQuantity, ...]:
    """Each once, in the order in which a stage keeps them, the loss among them."""
    asked = {"loss", *wanted}
    return tuple(name for name in get_args(LossQuantity) if name in asked)
