"""From a recipe to a graph of stages: which stages there are, and which rows of the table share them.

Imports nothing heavy: `selectit plan` answers in under a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.config import (
    ArmConfig,
    BenchmarkConfig,
    JudgeConfig,
    JudgeSetting,
    is_execution,
)
from selectit.errors import UserError
from selectit.evaluate.benchmarks.registry import is_judged
from selectit.plan.graph import Cell, Plan, Stage, TableRow, walk
from selectit.plan.stages import (
    ReadPrompts,
    evaluate_stage,
    finetune_stage,
    needed_prompts,
    needed_quantities,
    select_stage,
)
from selectit.recipe.rows import ArmPoint, Recipe, trains
from selectit.scoring.prompts import read_rating_prompts
from selectit.selection.strategy import models_read, needed_arms


def build(recipe: Recipe, read: ReadPrompts = read_rating_prompts) -> Plan:
    """Args: read: how rating prompts are read; `stated_rating_prompts` fetches nothing.

    Raises: UserError where a rating-prompt file has fewer lines than are asked for.
    """
    seeds = recipe.config.seeds
    prompts = needed_prompts((row.config for row in recipe.rows), seeds.select, read)
    quantities = needed_quantities(row.config for row in recipe.rows)
    judges = _judge_names(recipe)
    rows = []
    for row in recipe.rows:
        named = [(need.field, need.arm) for need in needed_arms(row.config)]
        named += [(need.field, need.arm) for need in models_read(row.config.select)]
        others = {field: _arm(recipe, arm, row.point) for field, arm in named}
        cells = []
        for select_seed, train_seed, eval_seed in seeds.combinations:
            tuned = None
            if trains(row.config.finetune):
                subset = select_stage(row.config, select_seed, prompts, others, read, quantities, seeds.train[0])
                tuned = finetune_stage(row.config, train_seed, subset)
            for benchmark in _benchmarks(recipe, row):
                stage = evaluate_stage(row.config, benchmark, recipe.profiles[row.arm].name, eval_seed, tuned)
                cells.append(Cell(_column(benchmark, row, judges), select_seed, train_seed, eval_seed, stage))
        rows.append((row, _each_stage_once(cells)))
    table = _label(rows)
    _check_labels(recipe, table)
    _check_primary(recipe, table)
    stages = dict.fromkeys(s for row in table for cell in (*row.cells, *row.curve) for s in walk(cell.stage))
    return Plan(tuple(table), tuple(stages), recipe)


def _check_labels(recipe: Recipe, table: Sequence[TableRow]) -> None:
    """Raises: UserError where two rows of the table would have one name."""
    rows: dict[str, TableRow] = {}
    for row in table:
        if row.label in rows:
            raise UserError(
                f"recipe {recipe.path}: two rows of the table have the name '{row.label}', of the arms '"
                f"{rows[row.label].arm}' and '{row.arm}'; rename one"
            )
        rows[row.label] = row


def _check_primary(recipe: Recipe, table: Sequence[TableRow]) -> None:
    """Raises: UserError where the primary comparison names no row, several, or a benchmark that is not run."""
    if (primary := recipe.config.primary) is None:
        return
    named = [row.label for row in table if primary.row in (row.arm, row.label)]
    if len(named) != 1:
        found = f"several rows ({', '.join(named)})" if named else "no row"
        raise UserError(
            f"recipe {recipe.path}: primary.row: '{primary.row}' names {found}; name one of "
            f"{', '.join(row.label for row in table)}"
        )
    benchmarks = dict.fromkeys(cell.benchmark for row in table for cell in row.cells)
    if primary.on not in (*benchmarks, "average"):
        raise UserError(
            f"recipe {recipe.path}: primary.on: '{primary.on}' is not run; name one of {', '.join(benchmarks)}, average"
        )


def _judge_names(recipe: Recipe) -> dict[Any, str]:
    """Every judge of the recipe, as `_judge_key` has it, with a name that no other has."""
    names: dict[Any, str] = {}
    for judge in (row.config.evaluate.judge for row in recipe.rows):
        if judge is None or _judge_key(judge) in names:
            continue
        name = judge.model if isinstance(judge, JudgeConfig) else Path(judge.partition(":")[2]).name
        others = sum(other.partition(" #")[0] == name for other in names.values())
        names[_judge_key(judge)] = f"{name} #{others + 1}" if others else name
    return names


def _judge_key(judge: JudgeSetting) -> str:
    """What makes a judge another one: all of its settings but those of execution."""
    if isinstance(judge, str):
        return judge
    execution = {name for name, info in JudgeConfig.model_fields.items() if is_execution(info)}
    return judge.model_dump_json(exclude=execution)


def _column(benchmark: BenchmarkConfig, row: ArmPoint, judges: Mapping[Any, str]) -> str:
    """The table's column of a benchmark: its name, and the judge's where there are several, for two never share one."""
    judge = row.config.evaluate.judge
    if not is_judged(benchmark.name) or judge is None or len(judges) < 2:
        return benchmark.name
    return f"{benchmark.name} ({judges[_judge_key(judge)]})"


def _arm(recipe: Recipe, name: str, point: tuple[tuple[str, Any], ...]) -> ArmConfig:
    return next(row.config for row in recipe.rows if row.arm == name and row.point == point)


def _each_stage_once(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Seeds that a row does not depend on give the same stage again: it is one number, not several."""
    return tuple({cell.stage: cell for cell in reversed(cells)}.values())[::-1]


def _label(rows: list[tuple[ArmPoint, tuple[Cell, ...]]]) -> list[TableRow]:
    """Rows of one arm that the grid does not change are one row; labels show the keys that differ."""
    table = []
    for arm, group in itertools.groupby(rows, key=lambda item: item[0].arm):
        distinct: dict[tuple[Stage, ...], tuple[ArmPoint, tuple[Cell, ...]]] = {}
        for row, cells in group:
            distinct.setdefault(tuple(cell.stage for cell in cells), (row, cells))
        values: dict[str, set[str]] = {}
        for row, _ in distinct.values():
            for key, value in row.point:
                values.setdefault(key, set()).add(repr(value))
        shown = {key for key, found in values.items() if len(found) > 1}
        table += [TableRow(row.label(shown), arm, row.config, cells) for row, cells in distinct.values()]
    return table


def _benchmarks(recipe: Recipe, row: ArmPoint) -> list[BenchmarkConfig]:
    profile, chosen = recipe.profiles[row.arm], row.config.evaluate.benchmarks
    return [b for name, b in profile.benchmarks.items() if chosen is None or name in chosen]


def rater_lines(recipe: Recipe) -> list[str]:
    """Which models rate the arms or take their losses, a line for each group of arms with the same ones."""
    arms: dict[str, dict[str, None]] = {}
    for row in recipe.rows:
        if not row.config.raters or not trains(row.config.finetune):
            continue
        names = ", ".join(f"{model.path} ({model.dtype})" for model in row.config.raters)
        how = "the arm's own model" if row.config.score.models is None else "named in score.models"
        arms.setdefault(f"{names}, {how}", {})[row.arm] = None
    return [f"{', '.join(names)}: {rater}" for rater, names in arms.items()]
