"""The configuration of a losses stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selectit.config.inputs import ModelConfig, PoolConfig
from selectit.config.schema import Config, execution

LossTemplate = Literal["alpaca", "llmzoo", "chat", "plain"]
"""The training templates, and `plain`: the instruction, a line end, the response."""


class LossStage(Config):
    """One model over one pool: how well it predicts the responses, with their instructions or without."""

    pool: PoolConfig
    model: ModelConfig
    text: Literal["conditioned", "marker", "bare"]
    """conditioned: the row in its template; marker: the response behind the template's response marker; bare: the
    response alone. The response's token ids are the same in all three."""
    template: LossTemplate
    max_length: int | None = Field(None, ge=32)
    """Tokens of the row in its template at most: longer responses lose their end, in every text."""
    batch_tokens: int | None = execution(None, ge=1)
    num_processes: int | None = execution(None, ge=1)
    launcher: Literal["none", "external"] = execution("none")
