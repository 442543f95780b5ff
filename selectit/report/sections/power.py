"""`selectit plan --power`: the training seeds and items that a difference needs on each benchmark of a recipe.

Reads the evaluations that are finished for the spreads, where they are not stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selectit.cost.work import num_items
from selectit.errors import UserError
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT, Listing
from selectit.report.tables.compare import pairs_of
from selectit.report.tables.item_runs import RowRuns, obstacle, read_rows
from selectit.report.tables.results import Result, read_results, recipe_of
from selectit.statistics.items import Mean, item_weights, make_units
from selectit.statistics.method import detectable, item_error
from selectit.statistics.power import items_needed, planned_spread, seeds_needed

COLUMNS = ("benchmark", "items", "spread over seeds", "disagreement", "seeds needed", "items needed", "detectable")
DISAGREEMENT = 0.3
"""Share of items that only one of two models solves, where it is neither stated nor known from finished runs."""


@dataclass(frozen=True)
class _Known:
    """What finished runs say of one benchmark; None where there are not enough."""

    seed_spread: float | None = None
    disagreement: float | None = None
    num_items: int | None = None


def power(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    points: float,
    seed_spread: float | None = None,
    disagreement: float | None = None,
) -> tuple[Listing, list[str]]:
    """A line for each benchmark, and what the lines rest on.

    Args:
        points: the difference that should be found.
        seed_spread: standard deviation over training seeds in points; disagreement: share of items. None: from the
            finished runs of this recipe.
    Raises: UserError where no spread over seeds is stated and none is known.
    """
    results = read_results(plan, outcomes)
    seeds = len(recipe_of(plan).config.seeds.train)
    lines, assumed, unknown = [], [], []
    for benchmark in dict.fromkeys(result.cell.benchmark for result in results if not result.is_beside):
        own = [result for result in results if result.cell.benchmark == benchmark]
        known = _known(plan, own)
        spread = known.seed_spread if seed_spread is None else seed_spread / 100
        share = known.disagreement if disagreement is None else disagreement
        items = known.num_items or _planned_items(own[0])
        if spread is None or items is None:
            unknown.append(benchmark)
            continue
        if share is None:
            share = DISAGREEMENT
            assumed.append(benchmark)
        smallest = detectable(planned_spread(seeds, items, spread, share)) if seeds > 1 else None
        lines.append(
            (
                benchmark, formats.count(items), f"{100 * spread:.2f}", f"{share:.2f}",
                _number(seeds_needed(points / 100, items, spread, share), "over 100"),
                _number(items_needed(points / 100, seeds, spread, share), "more seeds"),
                ABSENT if smallest is None else f"{100 * smallest:.1f}",
            )
        )  # fmt: skip
    if not lines:
        raise UserError(
            "plan --power: no benchmark has a known number of items and two finished training seeds, whose spread "
            "the plan rests on; state the spread in points, such as --seed-spread 1.0"
        )
    return Listing(COLUMNS, tuple(lines)), _notes(points, seeds, assumed, unknown)


def _notes(points: float, seeds: int, assumed: Sequence[str], unknown: Sequence[str]) -> list[str]:
    now = f"with the recipe's {seeds} training seeds" if seeds > 1 else "one training seed can show no difference"
    notes = [
        f"To find a true difference of {points:g} points between two methods four times in five (two-sided, 5 %, one "
        "comparison): seeds needed with these items, and items needed with the recipe's training seeds. Detectable: "
        f"the smallest difference in points {now}."
    ]
    if assumed:
        notes.append(
            f"disagreement {DISAGREEMENT:g} is assumed for {formats.names(assumed)}; state another with --disagreement"
        )
    if unknown:
        notes.append(
            f"not known for {formats.names(unknown)}: the number of items, or the spread over seeds (--seed-spread)"
        )
    return notes


def _number(found: int | None, otherwise: str) -> str:
    return otherwise if found is None else formats.count(found)


def _planned_items(result: Result) -> int | None:
    config = result.cell.stage.config
    assert isinstance(config, EvaluateStage)
    try:
        return num_items(config.benchmark, config.limit, config.data)
    except UserError:
        return None


def _known(plan: Plan, results: Sequence[Result]) -> _Known:
    of = {row.label: [r for r in results if r.row.label == row.label and r.hole is None] for row in plan.rows}
    rows, mean = read_rows(list(of.values()))
    if mean is None:
        return _Known()
    variances = [np.var(runs, ddof=1) for row in rows if len(runs := _values(row, mean)) > 1]
    disagreements = [
        _disagreement(rows[at], rows[base], mean)
        for at, base in pairs_of(plan)
        if not obstacle(rows[at], rows[base], "")
    ]
    sizes = [len(row.keys) for row in rows if not row.reason]
    return _Known(
        float(np.mean(variances)) ** 0.5 if variances else None,
        float(np.mean(disagreements)) if disagreements else None,
        max(sizes, default=None),
    )


def _values(row: RowRuns, mean: Mean) -> np.ndarray:
    """The value of each training seed of a row, selection seeds averaged."""
    if row.reason or not row.seeds:
        return np.empty(0)
    values = item_weights([task for task, _ in row.keys], mean) @ row.scores
    return np.array(
        [np.mean(values[[t == train for _, t in row.seeds]]) for train in sorted({t for _, t in row.seeds})]
    )


def _disagreement(row: RowRuns, base: RowRuns, mean: Mean) -> float:
    """Of the first run of each; with items that go together by task, as much more as that makes the error."""
    tasks = [task for task, _ in row.keys]
    scores = np.stack([row.scores[:, 0], base.scores[:, 0]], axis=1)
    units = make_units(tasks, item_weights(tasks, mean), scores)
    return item_error(units, [0], [1]).over_items * len(tasks)
