"""How long a row is, for the strategies that go by length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from selectit.config import Need, NeedsTokenizer, SelectFields
from selectit.data.pool import Row
from selectit.data.turns import texts_of
from selectit.selection.strategy import Candidates


class LengthUnit(SelectFields):
    """In what a text is measured."""

    unit: Literal["tokens", "chars", "words"] = "tokens"
    """tokens: of the base model's tokenizer, without special tokens."""

    def needs(self) -> tuple[Need, ...]:
        return (NeedsTokenizer(),) if self.unit == "tokens" else ()

    def counter(self, pool: Candidates) -> Callable[[str], int]:
        """From a text to its length."""
        if self.unit == "chars":
            return len
        if self.unit == "words":
            return lambda text: len(text.split())
        tokenizer = pool.tokenizer()
        return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else 0


class Length(LengthUnit):
    """What the length of a row is."""

    field: Literal["response", "instruction", "full"] = "response"
    """Whose length: of all assistant turns, of all user turns with their inputs, or of both."""

    def lengths(self, pool: Candidates) -> np.ndarray:
        """float64 [num_rows]"""
        return length_scores(pool.rows(), self.field, self.counter(pool))


def length_scores(rows: Iterable[Row], field: str, count: Callable[[str], int]) -> np.ndarray:
    """Length of each row's text, in the unit of `count`.

    Args: field: response (all assistant turns), instruction (all user turns, inputs included) or full (both).
    """
    roles = {"response": ("assistant",), "instruction": ("user",), "full": ("user", "assistant")}[field]
    lengths = (sum(count(text) for m in row.messages if m["role"] in roles for text in texts_of(m)) for row in rows)
    return np.fromiter(lengths, dtype=float)
