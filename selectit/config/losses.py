"""The configuration of a losses stage."""

from __future__ import annotations

from typing import Annotated, Literal

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


class LossStage(ReadingFields):
    """One model over one pool: how well it predicts the responses, with their instructions or without."""

    pool: PoolConfig
    model: ModelConfig
    text: LossText
    """conditioned: the row in its template; marker: the response behind the template's response marker; bare: the
    response alone. The response's token ids are the same in all three. Beyond max_length it loses its end in all."""
    template: LossTemplate
