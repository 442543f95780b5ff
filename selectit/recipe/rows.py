"""What a recipe resolves to: rows with whole configurations, and the profile of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selectit.config import (
    ArmConfig,
    FinetuneConfig,
    RecipeConfig,
)
from selectit.evaluate.profile import Profile
from selectit.recipe.places import Written
from selectit.selection.registry import Strategies, shipped


@dataclass(frozen=True)
class ArmPoint:
    """One row of the table: an arm at one point of the grid."""

    arm: str
    point: tuple[tuple[str, Any], ...]
    """(dotted key, value) of each grid dimension."""
    config: ArmConfig

    def label(self, shown: Iterable[str]) -> str:
        """Arm name and the grid values of the keys in `shown`."""
        names = short_names([key for key, _ in self.point])
        values = [f"{names[key]}={_value_text(value)}" for key, value in self.point if key in shown]
        return self.arm if not values else f"{self.arm} ({', '.join(values)})"


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each dotted key -> as many of its last parts as distinguish it from the others."""

    def last(key: str, num_parts: int) -> str:
        return ".".join(key.split(".")[-num_parts:])

    return {
        key: next(
            (last(key, n) for n in range(1, key.count(".") + 1) if [last(k, n) for k in keys].count(last(key, n)) == 1),
            key,
        )
        for key in keys
    }


def _value_text(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Recipe:
    path: Path
    config: RecipeConfig
    rows: tuple[ArmPoint, ...]
    profiles: Mapping[str, Profile]
    """Arm name -> the profile it is evaluated with."""
    parents: tuple[Path, ...] = ()
    """The files that it extends, the first ancestor first."""
    written: Written = ()
    """The line of each key, for errors that are found later."""
    strategies: Strategies = field(default_factory=shipped)
    """Those that its arms may name."""


def trains(finetune: FinetuneConfig) -> bool:
    return finetune.method != "none"
