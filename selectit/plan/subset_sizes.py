"""What each arm of a recipe would choose, as far as its pool can be read here.

Reads pools; finds ratios that choose nothing, arms for which another arm leaves too few rows, and what strategies find
that read the pool and files of their own.
"""

from __future__ import annotations

from selectit.config import PoolConfig, SelectStage
from selectit.config.inputs import is_local
from selectit.errors import UserError
from selectit.recipe.rows import ArmPoint, Recipe, trains
from selectit.selection import steps
from selectit.selection.columns import PoolColumns, read_columns
from selectit.selection.strategy import ShareStrategy, needed_arms, strategy_of


def check_pools(recipe: Recipe) -> list[str]:
    """What is wrong with the pools that are files here, and with the sizes of the subsets that are chosen from them."""
    faults: dict[str, None] = {}
    read: dict[PoolConfig, PoolColumns] = {}
    for pool in dict.fromkeys(row.config.pool for row in recipe.rows):
        if is_local(pool.path):
            try:
                read[pool] = read_columns(pool)
            except UserError as error:
                faults[str(error)] = None
    for row in recipe.rows:
        if row.config.pool in read and trains(row.config.finetune):
            columns = read[row.config.pool]
            try:
                _check_size(recipe, row, len(columns.failures), columns.failures.count(None))
                _check_files(row, columns)
            except UserError as error:
                faults[f"arms.{row.arm}: {error}"] = None
    return list(faults)


def _check_size(recipe: Recipe, row: ArmPoint, num_rows: int, num_usable: int) -> None:
    """Raises: UserError, see `Strategy.check_size`."""
    eligible, left = num_usable, ""
    for need in needed_arms(row.config):
        other = next(strategy_of(r.config) for r in recipe.rows if r.arm == need.arm and r.point == row.point)
        if need.leaves_out and isinstance(other, ShareStrategy):  # how many another one takes is not known yet
            taken = other.count(num_rows, num_usable)
            eligible, left = num_usable - taken, f"; arm '{need.arm}' takes {taken} of {num_usable}"
    try:
        strategy_of(row.config).check_size(num_rows, eligible)
    except UserError as error:
        raise UserError(f"{error}{left}") from error


def _check_files(row: ArmPoint, columns: PoolColumns) -> None:
    """Raises: UserError, see `Strategy.preflight`; what needs prompts or models is checked before a run."""
    strategy, pool = strategy_of(row.config), row.config.pool
    if not strategy.all_needs():
        candidates = columns.candidates(SelectStage(pool=pool, select=strategy))
        strategy.preflight(candidates)
        steps.check(strategy, candidates)
