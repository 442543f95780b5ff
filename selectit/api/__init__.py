"""What Python programs and notebooks call: docs/python.md. `selectit.select` and the others are these."""

from selectit.api.models import ModelResult, RecipeResult, evaluate_model, run_recipe
from selectit.api.subsets import RowScores, SelectedRows, score, select

__all__ = [
    "ModelResult", "RecipeResult", "RowScores", "SelectedRows",
    "evaluate_model", "run_recipe", "score", "select",
]  # fmt: skip
