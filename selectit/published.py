"""Numbers that others have published, read from a YAML file that a recipe names in `published`.

What a number leaves out is unknown; the report compares it only where every setting is known and equal. Imports
nothing heavy.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from selectit.config import Config
from selectit.config.recipe import SHIPPED_NUMBERS
from selectit.errors import UserError

SETTINGS = ("model", "pool", "ratio", "training", "profile", "metric")
"""What must be known and equal before two numbers of one benchmark are compared."""


class PublishedNumber(Config):
    benchmark: str | None = None
    subset: Literal["instruction_length", "calculation_rows"] | None = None
    """A property of what was selected, instead of a benchmark."""
    value: float
    unit: Literal["percent", "number"]
    arm: str
    """As the paper calls it."""
    setting: str
    """In words: what is known of it, and what is not."""
    strategy: str | None = None
    """The select.strategy that it stands for; None: none of ours."""
    model: str | None = None
    pool: str | None = None
    ratio: float | None = None
    """1 is the whole pool."""
    training: Literal["lora", "full", "none"] | None = None
    """As finetune.method."""
    profile: str | None = None
    metric: str | None = None
    table: str | None = None
    """Where it stands in the paper."""

    @property
    def what(self) -> str:
        return self.benchmark or str(self.subset)

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(name for name in SETTINGS if getattr(self, name) is None)


class Published(Config):
    source: str
    """The paper, as a reader finds it."""
    numbers: tuple[PublishedNumber, ...]


def read_published(location: str) -> Published:
    """Raises: UserError with every fault of the file."""
    shipped = location == SHIPPED_NUMBERS
    text = (files("selectit") / "published.yaml" if shipped else Path(location)).read_text(encoding="utf-8")
    try:
        published = Published.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"published: {location} is not YAML: {error}") from error
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, one['loc'])) or 'the file'}: {_message(one)}" for one in error.errors()]
        legal = f"Fields of a number: {', '.join(PublishedNumber.model_fields)}"
        raise UserError("\n".join([f"published: {location}:", *faults, legal])) from error
    for index, number in enumerate(published.numbers):
        if (number.benchmark is None) == (number.subset is None):
            raise UserError(f"published: {location}: numbers.{index}: give one of benchmark and subset")
    return published


def _message(error: Any) -> str:
    return "not a field" if error["type"] == "extra_forbidden" else f"{error['msg']} (found {error['input']!r:.60})"
