"""A tokenised text with the tokens whose loss is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from selectit.inference.batch import NO_RESPONSE_TOKEN, Text


@dataclass(frozen=True)
class LossText(Text):
    """`scored` are the response tokens whose loss counts; none of them where the row has no loss."""

    scored: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))  # bool [num_tokens]
    failure: str | None = NO_RESPONSE_TOKEN
    """Why there is no loss, where no token is scored."""
