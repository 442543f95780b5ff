"""Which strategies there are: those that ship, those of installed distributions, and those of a recipe's plugins.

Reads `selectit/selection/strategies/`, the entry points of the group `selectit.strategies`, and plugin files.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic.fields import FieldInfo

from selectit.config import READ_SELECT, Config, ReadSelect, SelectFields, as_written, nested_configs
from selectit.errors import UserError, did_you_mean
from selectit.selection import strategies
from selectit.selection.outside import read_outside
from selectit.selection.plugins import classes_in, name_of, of_distributions, of_file, source_text
from selectit.selection.strategy import Strategy

OF_YOUR_OWN = " A strategy of your own is read from the files that `plugins` (--plugin) names."


class Strategies(Mapping[str, type[Strategy]]):
    """Name -> class.

    Args:
        classes: in the order in which they are listed.
        broken: name -> why the strategy of an installed distribution cannot be used.
    """

    def __init__(self, classes: Mapping[str, type[Strategy]], broken: Mapping[str, str]) -> None:
        self._classes, self.broken = MappingProxyType(dict(classes)), MappingProxyType(dict(broken))

    def __getitem__(self, name: str) -> type[Strategy]:
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def read(self, raw: Mapping[str, Any]) -> SelectFields:
        """A `select` section as it is written.

        Raises: ValueError for an unknown strategy; pydantic.ValidationError for what is wrong with its fields.
        """
        name = raw.get("strategy")
        if not isinstance(name, str) or name not in self:
            near = did_you_mean(str(name), self)
            why = f"strategy '{name}' is unknown; allowed are {', '.join(self)}.{near}{OF_YOUR_OWN}"
            raise ValueError(self.broken.get(str(name), why))
        schema = self[name]
        return (
            as_written(schema, dict(raw), self.context)
            if schema.source is None
            else read_outside(schema, dict(raw), source_text(schema))
        )

    @property
    def context(self) -> dict[str, ReadSelect]:
        """Of a validation that meets `select` sections."""
        return {READ_SELECT: self.read}

    def forms(self, info: FieldInfo) -> list[type[Config]]:
        """The classes that a field may hold; of a `select` section those of all strategies."""
        own = nested_configs(info)
        return [*self.values()] if SelectFields in own else own

    def having(self, field: str) -> list[str]:
        return [name for name, schema in self.items() if field in schema.model_fields]


def _of_modules() -> list[type[Strategy]]:
    found = []
    for module in pkgutil.iter_modules(strategies.__path__):
        found += classes_in(importlib.import_module(f"{strategies.__name__}.{module.name}"))
    return found


@functools.cache
def shipped() -> Strategies:
    """Those of this project and of installed distributions.

    Raises: UserError for two of one name.
    """
    found, broken = of_distributions()
    return Strategies(_named_once(_of_modules(), found), broken)


def known(plugins: Sequence[str | Path] = ()) -> Strategies:
    """Those, and the strategies of plugin files.

    Raises: UserError for a plugin that cannot be read, and for two strategies of one name.
    """
    if not plugins:
        return shipped()
    always = shipped()
    files = dict.fromkeys(Path(plugin).resolve() for plugin in plugins)  # one that is named twice is read once
    return Strategies(_named_once(always.values(), *map(of_file, files)), always.broken)


def _named_once(*groups: Iterable[type[Strategy]]) -> dict[str, type[Strategy]]:
    by_name: dict[str, type[Strategy]] = {}
    for schema in (schema for group in groups for schema in group):
        name = name_of(schema)
        if name in by_name:
            raise UserError(
                f"{source_text(schema)} has a strategy '{name}', and {source_text(by_name[name])} has one of that "
                "name; give it another name"
            )
        by_name[name] = schema
    return by_name
