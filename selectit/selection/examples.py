"""A strategy with its defaults, to say what it reads before its fields are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selectit.config import Need
from selectit.errors import UserError
from selectit.selection.plugins import name_of
from selectit.selection.strategy import Strategy


def example(schema: type[Strategy], given: Mapping[str, Any] | None = None) -> Strategy:
    """Args: given: fields; other required ones hold their own names."""
    required: dict[str, Any] = {name: name for name, info in schema.model_fields.items() if info.is_required()}
    return schema.model_construct(**{**required, **(given or {}), "strategy": name_of(schema)})


def example_needs(schema: type[Strategy], given: Mapping[str, Any] | None = None) -> tuple[Need, ...]:
    """What it reads next to the pool; nothing where that cannot be known of these fields."""
    try:
        return tuple(example(schema, given).needs())
    except UserError:  # of a plugin, which meets a name in place of a value; a plan raises it where it is a fault
        return ()


def what_it_needs(schema: type[Strategy]) -> list[str]:
    """Such as `losses of a model`, with its defaults."""
    return list(dict.fromkeys(map(str, example_needs(schema))))
