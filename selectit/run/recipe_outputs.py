"""What a recipe reads, and where its commands write: neither is written over the other."""

from __future__ import annotations

from pathlib import Path

from selectit.config import ArmConfig, LocationMark, RecipeConfig
from selectit.recipe.locations import map_locations
from selectit.recipe.rows import Recipe
from selectit.store.names import REPORT_FILES, REPORT_RECORD
from selectit.store.outputs import CONTAINERS, Output, check_outputs, runs_folder


def check_recipe_outputs(recipe: Recipe, runs_dir: Path, *outputs: Output) -> None:
    """Call this before a recipe's stages or its report are made.

    Args:   outputs: what the command writes next to the runs folder and the report.
    Raises: UserError, see `check_outputs`.
    """
    from selectit.report.record import is_own

    report = Output(
        "--runs-dir", runs_dir / recipe.config.name, (*REPORT_FILES, REPORT_RECORD), is_own, made_later=True
    )
    read: dict[str, list[str | Path]] = {"RECIPE": [recipe.path], **inputs_of(recipe)}
    check_outputs(read, runs_folder(runs_dir), report, *outputs)


def inputs_of(recipe: Recipe) -> dict[str, list[str | Path]]:
    """The places that the settings of a recipe's rows name, in two groups, as `check_outputs` takes them."""
    found: dict[str, dict[str, None]] = {"the recipe": {}, CONTAINERS[0]: {}}

    def note(value: str, mark: LocationMark, schema: object, field: str) -> str:
        if value not in mark.keywords:
            found[CONTAINERS[0] if field == "data" else "the recipe"][mark.strip(value)] = None
        return value

    map_locations(recipe.config.model_dump(mode="json"), RecipeConfig, recipe.strategies, note)
    for row in recipe.rows:
        map_locations(row.config.model_dump(mode="json"), ArmConfig, recipe.strategies, note)
    return {option: list(places) for option, places in found.items()}
