"""Select instruction data, fine-tune on it, evaluate: one recipe, one table.

In Python: `selectit.select`, `score`, `evaluate_model` and `run_recipe` (docs/python.md), which are imported when they
are first named, so that `import selectit` imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selectit.api import (
        ModelResult,
        RecipeResult,
        RowScores,
        SelectedRows,
        evaluate_model,
        run_recipe,
        score,
        select,
    )
    from selectit.errors import UserError

__version__ = "0.1.0"
__all__ = [
    "ModelResult", "RecipeResult", "RowScores", "SelectedRows", "UserError",
    "evaluate_model", "run_recipe", "score", "select",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """A name of `__all__`. `evaluate` and `run` are packages of this one, hence `evaluate_model` and `run_recipe`."""
    if name not in __all__:
        raise AttributeError(f"module 'selectit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("selectit.errors" if name == "UserError" else "selectit.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
