"""`selectit select --strategy NAME --set field=value`: a strategy's fields from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selectit.config import ArmConfig, LocationMark
from selectit.errors import UserError, did_you_mean
from selectit.recipe.load import parse_overrides
from selectit.recipe.locations import map_locations
from selectit.selection.registry import OF_YOUR_OWN, Strategies


def given_fields(strategies: Strategies, name: str, given: list[str], ratio: float | None) -> dict[str, Any]:
    """The `select` section that `--strategy`, `--set` and `--ratio` make.

    Raises: UserError for a strategy that does not exist, or a field that it does not have.
    """
    if name not in strategies:
        why = f"allowed are {', '.join(strategies)}.{did_you_mean(name, strategies)}{OF_YOUR_OWN}"
        raise UserError(f"--strategy {name}: {strategies.broken.get(name, why)}")
    if wrong := next((one for one in given if "=" not in one), None):
        raise UserError(f"--set {wrong}: write field=value, such as --set ratio=0.1 (selectit strategies {name})")
    fields = parse_overrides(given, section="select.").get("select", {})
    if "strategy" in fields:
        raise UserError("--set strategy: the strategy is named by --strategy")
    if ratio is not None and "ratio" in fields:
        raise UserError("--set ratio: --ratio gives it too; give it once")
    whole = {"strategy": name, **({} if ratio is None else {"ratio": ratio}), **fields}
    has = [field for field in strategies[name].model_fields if field != "strategy"]
    for field in whole:
        if field not in has and field != "strategy":
            option = "--ratio" if field == "ratio" and ratio is not None else f"--set {field}"
            raise UserError(
                f"{option}: strategy {name} has no field {field}.{did_you_mean(field, has)} It has "
                f"{', '.join(has) or 'none'} (selectit strategies {name})"
            )
    return whole


def files_named(strategies: Strategies, fields: Mapping[str, Any]) -> list[str]:
    """The files and folders that a section names, and those of the arms that it describes."""
    found: list[str] = []

    def note(value: str, mark: LocationMark, schema: object, field: str) -> str:
        found.extend([] if value in mark.keywords else [mark.strip(value)])
        return value

    for section in (
        fields,
        *(value for value in fields.values() if isinstance(value, Mapping) and "strategy" in value),
    ):
        map_locations({"select": dict(section)}, ArmConfig, strategies, note)
    return found
