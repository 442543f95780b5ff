"""A recipe, its parents and `--set`, one over the other: how they merge, and settings that lost the model they are for.

Raters that a file names are named for the models of its arms. A child or `--set` that gives an arm another model and
names no raters is refused, for nobody would see which model rates.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selectit.config.inputs import is_local

if TYPE_CHECKING:
    from selectit.recipe.rows import ArmPoint

Layer = tuple[str, dict[str, Any]]
"""What is written in one place: the file's name or `--set`, and its mapping. A later layer wins."""


def merge(base: Any, top: Any) -> Any:
    """Mappings merge key by key, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(top, dict):
        return copy.deepcopy(top)
    both = dict(base)
    for key, value in top.items():
        both[key] = merge(base[key], value) if key in base else copy.deepcopy(value)
    return both


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    whole: dict[str, Any] = functools.reduce(_over, (raw for _, raw in layers), {})
    return whole


def _over(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """As `merge`; an arm that is null on top is gone."""
    whole: dict[str, Any] = merge(base, top)
    arms, inherited = whole.get("arms"), base.get("arms")
    if isinstance(arms, dict) and isinstance(inherited, dict):
        whole["arms"] = {arm: own for arm, own in arms.items() if own is not None or arm not in inherited}
    return whole


def check_named_for_their_model(layers: Sequence[Layer], rows: Sequence[ArmPoint], faults: list[str]) -> None:
    """Raters, and a model's or a pool's revision, that were given for another model or pool than the arm has."""
    for row in rows:
        config = row.config
        if config.raters and config.score.models is not None:
            named = _named(layers, row, "score", "models", "model", config.model.path)
            if named is not None:
                key, where, other = named
                raters = ", ".join(model.path for model in config.score.models)
                faults.append(
                    f"{key}: {raters}, named in {where} where the model of arm '{row.arm}' is {other}; it is "
                    f"{config.model.path} now. Name its raters, or set {key} to null: each arm's own model rates then"
                )
        for section, value in (("model", config.model), ("pool", config.pool)):
            if value.revision is None or is_local(value.path):
                continue
            if (named := _named(layers, row, section, "revision", section, value.path)) is not None:
                key, where, other = named
                faults.append(
                    f"{key}: {value.revision}, given in {where} for {other}; {section}.path is {value.path} now. Give "
                    f"its revision, or set {key} to null for the newest"
                )
    faults[:] = list(dict.fromkeys(faults))


def _named(
    layers: Sequence[Layer], row: ArmPoint, section: str, field: str, owner: str, path: str
) -> tuple[str, str, str] | None:
    """Where a field was given for another path than the one that the arm's `owner` section has in the end.

    Returns: the field's dotted key, the layer that gave it, and the path that it was given for.
    """
    if f"{section}.{field}" in dict(row.point):
        return None
    holders = (("arms", row.arm, section, field), (section, field))
    given = [(key, at) for key in holders for at, (_, raw) in enumerate(layers) if _holds(raw, key)]
    if not given:
        return None
    key = given[0][0]  # an arm's own wins, whatever was written later for all arms
    at = max(number for holder, number in given if holder == key)
    whole = merged(layers[: at + 1])
    paths = [_at(whole, ("arms", row.arm, owner, "path")) or _at(whole, (owner, "path"))]
    paths += (whole.get("grid") or {}).get(f"{owner}.path", [])
    known = [str(one) for one in paths if one is not None]
    return None if not known or path in known else (".".join(key), layers[at][0], known[0])


def _holds(raw: Any, key: Sequence[str]) -> bool:
    section = _at(raw, key[:-1])
    return isinstance(section, Mapping) and key[-1] in section


def _at(raw: Any, key: Sequence[str]) -> Any:
    for part in key:
        raw = raw.get(part) if isinstance(raw, Mapping) else None
    return raw
