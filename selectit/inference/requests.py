"""What a model is asked, as token ids: log-likelihoods of continuations, the most probable next tokens, or a text.

A request is its content, so that equal ones are asked once and an answer on disk is found again by its key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Ids = tuple[int, ...]
Ending = Literal["end", "stop", "limit"]
"""By an end token, by a stop string, or at the limit of new tokens."""


@dataclass(frozen=True)
class Likelihood:
    """Continuations at the end of one row. The last token of each is only scored, so `ids` does not hold it."""

    ids: Ids
    continuations: tuple[Ids, ...]
    settings: None = None

    @property
    def num_open(self) -> int:
        """The last positions of `ids` whose logits are wanted; what stands before may be shared with other rows."""
        return max(map(len, self.continuations))


@dataclass(frozen=True)
class GenerationSettings:
    stop: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    seed: int = 0
    ends: Ids = ()
    """Token ids each of which ends an answer."""
    stop_ids: Ids = ()
    """The stop strings that are one token, by its id."""
    marked_stop: tuple[str, ...] = ()
    """The stop strings that hold a special token, which a decoded text does not show, and more."""


@dataclass(frozen=True)
class Generation:
    ids: Ids
    settings: GenerationSettings
    number: int = 0
    """Among equal prompts that are sampled: each has draws of its own."""
    num_open: int = field(default=1, init=False)


@dataclass(frozen=True)
class FirstTokens:
    """The most probable tokens behind one row."""

    ids: Ids
    most: int
    """How many of them."""
    settings: None = None
    num_open: int = field(default=1, init=False)


Request = Likelihood | FirstTokens | Generation


@dataclass(frozen=True)
class Answer:
    """`value` is [[log-probability, is greedy] per continuation], [[token, log-probability] per first token], most
    probable first, or a text.
    """

    value: Any
    num_tokens: int
    """Tokens of the request and of what was generated."""
    ending: Ending | None = None
    """Of a text."""


def request_key(request: Request, model: Mapping[str, Any]) -> str:
    """Args: model: what else an answer depends on and may change while the stage's fingerprint does not."""
    return hashlib.sha256(repr((request, sorted(model.items()))).encode()).hexdigest()[:32]
