"""How many rows each arm of a recipe would choose, as far as its pool can be read here.

Reads pools; finds ratios that choose nothing, and arms for which another arm leaves too few rows.
"""

from __future__ import annotations

from pathlib import Path

from selectit.config import PoolConfig
from selectit.data.pool import iter_pool
from selectit.errors import UserError
from selectit.recipe.rows import ArmPoint, Recipe, trains
from selectit.selection.strategy import RatioStrategy, needed_arms, strategy_of


def check_pools(recipe: Recipe) -> list[str]:
    """What is wrong with the pools that are files here, and with the sizes of the subsets that are chosen from them."""
    faults: dict[str, None] = {}
    sizes: dict[PoolConfig, tuple[int, int]] = {}
    for pool in dict.fromkeys(row.config.pool for row in recipe.rows):
        if Path(pool.path).exists():
            try:
                usable = [row.failure is None for row in iter_pool(pool)]
                sizes[pool] = len(usable), sum(usable)
            except UserError as error:
                faults[str(error)] = None
    for row in recipe.rows:
        if row.config.pool in sizes and trains(row.config.finetune):
            try:
                _check_size(recipe, row, *sizes[row.config.pool])
            except UserError as error:
                faults[f"arms.{row.arm}: {error}"] = None
    return list(faults)


def _check_size(recipe: Recipe, row: ArmPoint, num_rows: int, num_usable: int) -> None:
    """Raises: UserError, see `Strategy.check_size`."""
    eligible, left = num_usable, ""
    for need in needed_arms(row.config):
        other = next(strategy_of(r.config) for r in recipe.rows if r.arm == need.arm and r.point == row.point)
        if need.leaves_out and isinstance(other, RatioStrategy):  # how many another one takes is not known yet
            taken = other.count(num_rows, num_usable)
            eligible, left = num_usable - taken, f"; arm '{need.arm}' takes {taken} of {num_usable}"
    try:
        strategy_of(row.config).check_size(num_rows, eligible)
    except UserError as error:
        raise UserError(f"{error}{left}") from error
