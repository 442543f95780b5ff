"""`selectit diff`: which settings two results differ in, which numbers moved, and what explains each.

Compares two sides number by number; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selectit.audit.sides import CellKey, Made, Side, StageSetting
from selectit.store.fingerprint import canonical_json

ABSENT = StageSetting(None, "–")
NOTHING = "nothing that was recorded"


@dataclass
class DifferentSetting:
    """A setting, an execution setting or a circumstance with two values, and where."""

    key: str
    one: str
    other: str
    places: dict[CellKey, None] = field(default_factory=dict)
    roles: dict[str, None] = field(default_factory=dict)
    num_explained: int = 0
    """Numbers that moved and whose first difference, inputs first, this is."""


@dataclass(frozen=True)
class Moved:
    cell: CellKey
    one: float
    other: float
    because: str
    """Key of the first setting that differs on the way to the number; else the circumstances; else `NOTHING`."""


@dataclass(frozen=True)
class RunDifferences:
    settings: list[DifferentSetting]
    """Those that explain numbers first, most numbers first; then in the order of the stages."""
    execution: list[DifferentSetting]
    circumstances: list[DifferentSetting]
    moved: list[Moved]
    num_equal: int
    only_one: list[CellKey]
    only_other: list[CellKey]
    num_shared: int


def compare(one: Side, other: Side) -> RunDifferences:
    settings: dict[tuple[str, str, str], DifferentSetting] = {}
    execution: dict[tuple[str, str, str], DifferentSetting] = {}
    circumstances: dict[tuple[str, str, str], DifferentSetting] = {}
    moved, num_equal = [], 0
    shared = [cell for cell in one.chains if cell in other.chains]
    for cell in shared:
        a, b = one.chains[cell], other.chains[cell]
        found = _note(settings, cell, _settings(a, b))
        _note(execution, cell, _plain(a, b, "execution"))
        around = _note(circumstances, cell, _plain(a, b, "circumstances"))
        if cell not in one.values or cell not in other.values:
            continue
        if one.values[cell] == other.values[cell]:
            num_equal += 1
            continue
        because = NOTHING
        if found:
            because = found[0].key
            found[0].num_explained += 1
        elif around:
            because = f"circumstances: {', '.join(dict.fromkeys(d.key for d in around))}"
        moved.append(Moved(cell, one.values[cell], other.values[cell], because))
    return RunDifferences(
        settings=sorted(settings.values(), key=lambda d: -d.num_explained),
        execution=list(execution.values()),
        circumstances=list(circumstances.values()),
        moved=moved,
        num_equal=num_equal,
        only_one=[cell for cell in one.chains if cell not in other.chains],
        only_other=[cell for cell in other.chains if cell not in one.chains],
        num_shared=len(shared),
    )


def _note(
    into: dict[tuple[str, str, str], DifferentSetting], cell: CellKey, found: list[tuple[str, str, str, str]]
) -> list[DifferentSetting]:
    noted = []
    for role, key, one, other in found:
        difference = into.setdefault((key, one, other), DifferentSetting(key, one, other))
        difference.places[cell] = None
        difference.roles[role] = None
        noted.append(difference)
    return noted


def _settings(a: Mapping[str, Made], b: Mapping[str, Made]) -> list[tuple[str, str, str, str]]:
    """(role, key, text in A, text in B), inputs first. A stage that one side lacks shows in the stage that reads it."""
    return [
        (role, key, x.text, y.text)
        for role in a
        if role in b
        for key in dict.fromkeys([*a[role].settings, *b[role].settings])
        for x, y in [(a[role].settings.get(key, ABSENT), b[role].settings.get(key, ABSENT))]
        if canonical_json(x.value) != canonical_json(y.value) or (x is ABSENT) != (y is ABSENT)
    ]


def _plain(a: Mapping[str, Made], b: Mapping[str, Made], which: str) -> list[tuple[str, str, str, str]]:
    found = []
    for role in a:
        if role not in b:
            continue
        x: Mapping[str, Any] = getattr(a[role], which)
        y: Mapping[str, Any] = getattr(b[role], which)
        if x and y:
            keys = dict.fromkeys([*x, *y])
            found += [(role, key, str(x.get(key)), str(y.get(key))) for key in keys if x.get(key) != y.get(key)]
    return found
