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
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing
from selectit.report.tables.compare import pairs_of
from selectit.report.tables.item_runs import RowRuns, obstacle, read_rows
from selectit.report.tables.results import Result, read_results, recipe_of
from selectit.statistics import ALPHA
from selectit.statistics.item_error import item_error
from selectit.statistics.items import Mean, item_weights, make_units
from selectit.statistics.method import detectable
from selectit.statistics.power import Planned, items_needed, seeds_needed

COLUMNS = (
    "benchmark", "items", "spread over seeds", "disagreement", "seed disagreement", "seeds needed", "items needed",
    "detectable",
)  # fmt: skip
DISAGREEMENT = 0.3
"""Share of items that only one of two models solves, where it is neither stated nor known from finished runs."""
SEED_SHARE = 2 / 3
"""Of the disagreement of two methods, how much two seeds of one method have, where it is neither stated nor known."""


@dataclass(frozen=True)
class _Known:
    """What finished runs show of one benchmark; None where there are not enough."""

    seed_spread: float | None = None
    disagreement: float | None = None
    seed_disagreement: float | None = None
    num_items: int | None = None


@dataclass(frozen=True)
class Stated:
    """What whoever plans states for every benchmark; None: from the finished runs of the recipe."""

    seed_spread: float | None = None
    """Standard deviation over training seeds, in points."""
    disagreement: float | None = None
    """Of one model of each method; a share of items."""
    seed_disagreement: float | None = None
    """Of two training seeds of one method; a share of items."""


@dataclass(frozen=True)
class BenchmarkPower:
    """A benchmark. Fractions, not percent."""

    benchmark: str
    planned: Planned
    seeds_needed: int | None
    """None: more than 100."""
    items_needed: int | None
    """None: no number of items is enough, for the recipe's seeds are too few."""
    detectable: float | None
    """None: the recipe has one training seed."""


@dataclass(frozen=True)
class Power:
    points: float
    alpha: float
    """Of the first step of Holm's correction; 5 % where the recipe names a primary comparison."""
    lines: tuple[BenchmarkPower, ...]
    notes: tuple[str, ...]

    @property
    def listing(self) -> Listing:
        rows = [
            (
                one.benchmark, formats.count(one.planned.num_items), f"{formats.percent(one.planned.seed_spread):.2f}",
                f"{one.planned.disagreement:.2f}", f"{one.planned.seed_disagreement:.2f}",
                _number(one.seeds_needed, "over 100"), _number(one.items_needed, "more seeds"),
                _size(one.detectable),
            )
            for one in self.lines
        ]  # fmt: skip
        return Listing(COLUMNS, tuple(rows))


def power(plan: Plan, outcomes: Mapping[Stage, Outcome], points: float, stated: Stated) -> Power:
    """A line for each benchmark, and what the lines rest on.

    Args:   points: the difference that should be found.
    Raises: UserError where no spread over seeds is stated and none is known, or nothing is left that varies.
    """
    results = read_results(plan, outcomes)
    config = recipe_of(plan).config
    draws = _num_draws(results) if config.seeds.combine == "all" else 1
    seeds = len(config.seeds.train)
    benchmarks = list(dict.fromkeys(result.cell.benchmark for result in results))
    num_tests = len(pairs_of(plan)) * (len(benchmarks) + (len(benchmarks) > 1))
    alpha = ALPHA if config.primary else ALPHA / max(1, num_tests)
    lines, assumed, shared, unknown = [], [], [], []
    for benchmark in dict.fromkeys(result.cell.benchmark for result in results if not result.is_secondary):
        own = [result for result in results if result.cell.benchmark == benchmark]
        known = _known(plan, own)
        spread = known.seed_spread if stated.seed_spread is None else stated.seed_spread / 100
        share = known.disagreement if stated.disagreement is None else stated.disagreement
        of_seeds = known.seed_disagreement if stated.seed_disagreement is None else stated.seed_disagreement
        items = known.num_items or _planned_items(own[0])
        if spread is None or items is None:
            unknown.append(benchmark)
            continue
        if share is None:
            share = DISAGREEMENT
            assumed.append(benchmark)
        if of_seeds is None:
            # more than this, and the seeds would differ by more than they do
            of_seeds = min(SEED_SHARE * share, 2 * items * spread**2)
            shared.append(benchmark)
        planned = Planned(items, spread, share, min(of_seeds, share), draws)
        if planned.spread(2).error == 0:
            raise UserError("plan --power: with no spread over seeds and no disagreement every difference is found")
        lines.append(
            BenchmarkPower(
                benchmark, planned, seeds_needed(points / 100, planned, alpha),
                items_needed(points / 100, seeds, planned, alpha),
                detectable(planned.spread(seeds), alpha) if seeds > 1 else None,
            )
        )  # fmt: skip
    if not lines:
        raise UserError(
            "plan --power: no benchmark has a known number of items and two finished training seeds, whose spread "
            "the plan rests on; state the spread in points, such as --seed-spread 1.0"
        )
    tests = 1 if config.primary else num_tests
    notes = _notes(points, seeds, tests, draws, assumed, shared, unknown)
    return Power(points, alpha, tuple(lines), tuple(notes))


def _num_draws(results: Sequence[Result]) -> int:
    """Selection seeds of the row that has most: of those whose strategy draws its subset."""
    draws: dict[str, set[int]] = {}
    for result in results:
        draws.setdefault(result.row.label, set()).add(result.cell.select_seed)
    return max(map(len, draws.values()))


def _notes(
    points: float,
    seeds: int,
    tests: int,
    draws: int,
    assumed: Sequence[str],
    shared: Sequence[str],
    unknown: Sequence[str],
) -> list[str]:
    level = "one comparison, 5 %" if tests == 1 else f"5 % over the {tests} comparisons of the table, Holm's first step"
    now = f"with the recipe's {seeds} training seeds" if seeds > 1 else "one training seed can show no difference"
    notes = [
        f"To find a true difference of {points:g} points between two methods four times in five (two-sided; {level}): "
        "seeds needed with these items, and items needed with the recipe's training seeds. Detectable: the smallest "
        f"difference in points {now}."
    ]
    if tests > 1:
        notes.append("`primary` in the recipe names one comparison that is tested alone and needs less.")
    if draws > 1:
        notes.append(
            f"The recipe combines {draws} selection seeds with every training seed, so the spread of the draws rests "
            f"on {draws - 1} degree{'s' if draws > 2 else ''} of freedom, however many training seeds there are."
        )
    if assumed:
        notes.append(
            f"disagreement {DISAGREEMENT:g} is assumed for {formats.names(assumed)}; state another with --disagreement"
        )
    if shared:
        notes.append(
            f"seed disagreement is assumed for {formats.names(shared)}: two thirds of the disagreement, or what the "
            "spread over seeds leaves room for; state another with --seed-disagreement"
        )
    if unknown:
        notes.append(
            f"not known for {formats.names(unknown)}: the number of items, or the spread over seeds (--seed-spread)"
        )
    return notes


def _number(found: int | None, otherwise: str) -> str:
    return otherwise if found is None else formats.count(found)


def _size(fraction: float | None) -> str:
    return ABSENT if fraction is None else "over 100" if fraction > 1 else f"{formats.percent(fraction):.1f}"


def _planned_items(result: Result) -> int | None:
    config = result.cell.stage.config
    assert isinstance(config, EvaluateStage)
    try:
        return num_items(config.benchmark, config.limit, config.data)
    except UserError:
        return None


def _known(plan: Plan, results: Sequence[Result]) -> _Known:
    of = {row.label: [r for r in results if r.row.label == row.label and r.missing is None] for row in plan.rows}
    rows, mean = read_rows(list(of.values()))
    if mean is None:
        return _Known()
    variances = [np.var(runs, ddof=1) for row in rows if len(runs := _values(row, mean)) > 1]
    disagreements = [
        _disagreement(rows[at], rows[base], mean)
        for at, base in pairs_of(plan)
        if not obstacle(rows[at], rows[base], "")
    ]
    of_seeds = [one for row in rows if (one := _seed_disagreement(row, mean)) is not None]
    sizes = [len(row.keys) for row in rows if not row.reason]
    return _Known(
        float(np.mean(variances)) ** 0.5 if variances else None,
        float(np.mean(disagreements)) if disagreements else None,
        float(np.mean(of_seeds)) if of_seeds else None,
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
    """Of the first run of each."""
    return _apart(row.keys, np.stack([row.scores[:, 0], base.scores[:, 0]], axis=1), mean)


def _seed_disagreement(row: RowRuns, mean: Mean) -> float | None:
    """Of two training seeds on one subset; None where the row has none."""
    if row.reason or not row.seeds:
        return None
    same = [at for at, (select, _) in enumerate(row.seeds) if select == row.seeds[0][0]]
    return _apart(row.keys, row.scores[:, same[:2]], mean) if len(same) > 1 else None


def _apart(keys: Sequence[tuple[str, int]], scores: np.ndarray, mean: Mean) -> float:
    """With items that go together by task, as much more as that makes the error.

    Args: scores: float64 [num_items, 2].
    """
    tasks = [task for task, _ in keys]
    units = make_units(tasks, item_weights(tasks, mean), scores)
    return item_error(units, [0], [1]).over_items * len(tasks)
