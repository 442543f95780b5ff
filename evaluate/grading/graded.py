"""What a grader makes of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Graded:
    answer: str | None
    """What was read out of the text; None: no answer could be read (unparsed)."""
    score: float
    """The grader's first metric, 0 to 1."""
    others: Mapping[str, float] = field(default_factory=dict)
    """Its other metrics by name, all of them in every answer."""
    parts: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    """Metrics of the parts of items, such as instructions: whether each is right. Every part counts alike."""


Grader = Callable[[str, Mapping[str, Any]], Graded]
"""(a model's text, the item's row as lm-eval has it) -> what it is worth."""
