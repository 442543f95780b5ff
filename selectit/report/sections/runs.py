"""Our side of a comparison with a published number: the value of a row, its independent runs, and their error.

Reads and writes nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from selectit.config import ArmConfig, NeedsRatings
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.tables.results import Result
from selectit.selection.strategy import strategy_of
from selectit.statistics.equivalence import LEAST_SEEDS, Error, error_of_mean, item_deviation

CORPUS = ("bleu", "chrf")
"""Metrics of a whole set, which are not a mean over its items."""


@dataclass(frozen=True)
class Runs:
    """The runs of one row in one column, in percent."""

    value: float
    """Mean over the runs."""
    values: tuple[float, ...]
    """One a run: a training, or an evaluation of an untrained model; its evaluation seeds are averaged first."""
    seeds: tuple[tuple[str, int], ...]
    """What differs between runs at random, such as ("training seed", 3); () where nothing does."""
    errors: tuple[Error, ...]
    """() with fewer than three runs, or where nothing is random."""
    num_items: int | None
    is_mean_over_items: bool

    @property
    def resolution(self) -> float:
        """What one item adds to a value; 0 where no number of items is known."""
        return 100 / self.num_items if self.num_items else 0.0

    @property
    def num_seeds(self) -> int:
        return min(number for _, number in self.seeds)

    @property
    def are_enough(self) -> bool:
        return not self.seeds or self.num_seeds >= LEAST_SEEDS

    @property
    def deviation(self) -> float | None:
        """Standard deviation over runs, to plan with; of fewer than three, at least that of drawn items."""
        if self.errors:
            return float((sum(error.variance for error in self.errors) * self.num_seeds) ** 0.5)
        known = [statistics.stdev(self.values)] if len(self.values) > 1 else []
        if self.is_mean_over_items and self.num_items:
            known.append(item_deviation(self.value, self.num_items))
        return max(known) if known and max(known) > 0 else None

    @property
    def text(self) -> str:
        return ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for what, number in self.seeds) or "no seed"


def runs(config: ArmConfig, results: Sequence[Result]) -> Runs:
    """Args: results: those of one row and column that hold a number; at least one."""
    record = results[0].record
    by_run: dict[tuple[int, ...], list[float]] = {}
    trained = trains(config.finetune)
    for result in results:
        assert result.value is not None
        cell = result.cell
        run = (cell.select_seed, cell.train_seed) if trained else (cell.eval_seed,)
        by_run.setdefault(run, []).append(formats.percent(result.value))
    values = {run: statistics.fmean(found) for run, found in by_run.items()}
    num_items = record.get("num_items") or None
    resolution = 100 / num_items if num_items else 0.0
    seeds = _seeds(config, results, list(values))
    errors: tuple[Error, ...] = ()
    if seeds and min(number for _, number in seeds) >= LEAST_SEEDS:
        errors = tuple(error_of_mean(group, resolution) for group in _independent(values, len(seeds)))
    return Runs(
        statistics.fmean(values.values()), tuple(values.values()), seeds, errors, num_items,
        record.get("metric") not in CORPUS,
    )  # fmt: skip


def _seeds(
    config: ArmConfig, results: Sequence[Result], found: Sequence[tuple[int, ...]]
) -> tuple[tuple[str, int], ...]:
    if not trains(config.finetune):
        drawn = any(result.cell.stage.config.benchmark.temperature > 0 for result in results)  # type: ignore[union-attr]
        return (("evaluation seed", len(found)),) if drawn else ()
    trainings = ("training seed", len({train for _, train in found}))
    if not draws_subset(config):
        return (trainings,)
    return (trainings, ("selection seed", len({select for select, _ in found})))


def draws_subset(config: ArmConfig) -> bool:
    """Whether another selection seed selects other rows: it draws them, or the prompt that they are rated with."""
    strategy = strategy_of(config)
    return strategy.has_seed or any(
        isinstance(need, NeedsRatings) and need.num_prompts is None for need in strategy.all_needs()
    )


def _independent(values: dict[tuple[int, ...], float], num_purposes: int) -> list[list[float]]:
    """The runs; where training and selection seeds are crossed, their means by each of the two, whose errors add up."""
    distinct = [len(set(seeds)) for seeds in zip(*values, strict=True)]
    if num_purposes < 2 or len(values) == max(distinct):
        return [list(values.values())]
    groups = []
    for purpose in range(2):
        by_seed: dict[int, list[float]] = {}
        for run, value in values.items():
            by_seed.setdefault(run[purpose], []).append(value)
        groups.append([statistics.fmean(found) for found in by_seed.values()])
    return groups
