"""A strategy with its defaults, to say what it reads before any of its fields is given."""

from __future__ import annotations

from typing import Any

from selectit.selection.plugins import name_of
from selectit.selection.strategy import Strategy


def example(schema: type[Strategy]) -> Strategy:
    """Required fields hold their own names."""
    required: dict[str, Any] = {name: name for name, info in schema.model_fields.items() if info.is_required()}
    return schema.model_construct(**{**required, "strategy": name_of(schema)})


def what_it_needs(schema: type[Strategy]) -> list[str]:
    """Such as `losses of a model`, with its defaults."""
    return list(dict.fromkeys(str(need) for need in example(schema).needs()))
