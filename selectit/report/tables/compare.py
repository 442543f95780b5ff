"""Every row of the table against each baseline: difference, error, interval, and the tests over seeds and over items.

What the tests are called is decided in `selectit.report.tables.words`. Reads and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from selectit.plan.graph import Plan
from selectit.report.render import formats
from selectit.report.tables.comparisons import Comparison, Comparisons, RowError
from selectit.report.tables.item_runs import RowRuns, alike, obstacle, read_rows
from selectit.report.tables.results import Result
from selectit.report.tables.table import AVERAGE, Table, baselines_of
from selectit.report.tables.words import Tested, judged
from selectit.statistics.item_error import ItemError, item_error, mean_item_error
from selectit.statistics.items import Mean, Units, item_weights, make_units
from selectit.statistics.method import Spread, infer, spread
from selectit.statistics.paired import SignFlips, drawn_p, mcnemar, num_draws, sign_flips
from selectit.statistics.seed_error import RowValues, is_by_run, own_error, seed_error

SEED = 0
DRAWS_MISSING = "missing runs leave fewer than two training seeds with every draw of the subset"
Pair = tuple[int, int]
"""Positions in the table of a row and of the baseline that it is compared with."""


@dataclass
class _OnAverage:
    """What the average of a pair of rows is made of; each list has an entry for each benchmark."""

    runs: list[tuple[RowValues, RowValues]] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    items: list[ItemError] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    flips: list[np.ndarray] = field(default_factory=list)


def compare(plan: Plan, results: Sequence[Result], table: Table) -> Comparisons:
    """Every row against the row of each baseline arm, on every benchmark and on the average."""
    labels, pairs = [row.label for row in plan.rows], pairs_of(plan)
    of: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        of.setdefault((result.row.label, result.cell.benchmark), []).append(result)
    found: dict[tuple[Pair, str], Tested] = {}
    errors: dict[tuple[int, str], RowError] = {}
    averages: dict[Pair, _OnAverage] = {pair: _OnAverage() for pair in pairs}
    parts: dict[int, list[tuple[RowValues, ItemError]]] = {at: [] for at in range(len(labels))}
    draws = num_draws(len(pairs) * (len(table.benchmarks) + 1))
    for benchmark in table.benchmarks:
        rows, mean = read_rows([[r for r in of.get((label, benchmark), ()) if r.missing is None] for label in labels])
        for pair in pairs:
            row, base = (rows[at] for at in pair)
            reason = obstacle(row, base, labels[pair[1]])
            found[pair, benchmark] = Tested(
                Comparison(labels[pair[0]], labels[pair[1]], benchmark, reason=reason), (row.identity, base.identity)
            )
        for number, members in enumerate(alike(rows)):
            assert mean is not None
            group = _Group(members, rows, mean, (benchmark, number))
            for at in members:
                own = group.runs[at], group.own_item_error(at)
                errors[at, benchmark] = _row_error(labels[at], benchmark, *own)
                if benchmark in table.averaged:
                    parts[at].append(own)
            compared = [p for p in pairs if p[0] in members and not found[p, benchmark].comparison.reason]
            for pair, fields, own_spread in group.test(
                compared, draws, averages if benchmark in table.averaged else {}
            ):
                tested = found[pair, benchmark]
                comparison = replace(tested.comparison, **fields)
                found[pair, benchmark] = replace(tested, comparison=comparison, spread=own_spread)
    if len(table.averaged) > 1:
        for pair in pairs:
            found[pair, AVERAGE] = _average(
                labels, pair, [found[pair, name] for name in table.averaged], averages[pair]
            )
        for at, all_parts in parts.items():
            runs = mean_runs([runs for runs, _ in all_parts])
            if len(all_parts) == len(table.averaged) and runs is not None:
                items = mean_item_error([items for _, items in all_parts])
                errors[at, AVERAGE] = _row_error(labels[at], AVERAGE, runs, items)
    ordered = [found[pair, name] for pair in pairs for name in (*table.benchmarks, AVERAGE) if (pair, name) in found]
    return judged(plan, table, ordered, list(errors.values()))


def pairs_of(plan: Plan) -> list[Pair]:
    """Each row with the row of each baseline arm; two baselines are compared once."""
    pairs = []
    for at, row in enumerate(plan.rows):
        for base in baselines_of(plan, row):
            if at != base and (base, at) not in pairs:
                pairs.append((at, base))
    return pairs


class _Group:
    """Rows of the table with the same items of one benchmark."""

    def __init__(self, members: Sequence[int], rows: Sequence[RowRuns], mean: Mean, name: tuple[str, int]) -> None:
        self.rows, self.name = rows, name
        tasks = [task for task, _ in rows[members[0]].keys]
        scores = np.concatenate([rows[at].scores for at in members], axis=1)  # [num_items, num_runs of all]
        self.units: Units = make_units(tasks, item_weights(tasks, mean), scores)
        ends = np.cumsum([rows[at].scores.shape[1] for at in members])
        starts = [0, *ends[:-1]]
        self.columns = {
            at: list(range(*ends)) for at, ends in zip(members, zip(starts, ends, strict=True), strict=True)
        }
        self.means = {at: self.units.sums[:, columns].mean(axis=1) for at, columns in self.columns.items()}
        values = self.units.sums.sum(axis=0)
        self.runs = {at: RowValues(rows[at].seeds, values[columns]) for at, columns in self.columns.items()}

    def own_item_error(self, at: int) -> ItemError:
        return item_error(self.units, self.columns[at])

    def test(
        self, pairs: Sequence[Pair], draws: int, averages: dict[Pair, _OnAverage]
    ) -> list[tuple[Pair, dict[str, Any], Spread | None]]:
        """Fields of the comparison of each pair, and what its test is made of; `averages` are added to."""
        if not pairs:
            return []
        parts = np.stack([self.means[at] - self.means[base] for at, base in pairs], axis=1)
        flips = sign_flips(parts, draws, _rng("flips", *self.name))
        found = []
        for number, pair in enumerate(pairs):
            runs, base = (self.runs[at] for at in pair)
            difference = float(parts[:, number].sum())
            items = item_error(self.units, self.columns[pair[0]], self.columns[pair[1]], by_run=is_by_run(runs, base))
            fields, found_spread = _fields(runs, base, difference, items, *self._p(pair, flips, number))
            fields |= {**_counts([self.rows[at] for at in pair]), "items_unit": self.units.kind}
            found.append((pair, fields, found_spread))
            if pair in averages:
                average = averages[pair]
                average.runs.append((runs, base))
                average.differences.append(difference)
                average.items.append(items)
                average.scales.append(float(np.abs(parts[:, number]).sum()))
                average.flips.append(flips.draws[:, number])
        return found

    def _p(self, pair: Pair, flips: SignFlips, number: int) -> tuple[str, float]:
        """The test over items and its p-value: McNemar's where every item is one 0 or 1 that counts the same."""
        row, base = (self.rows[at] for at in pair)
        both = np.concatenate([row.scores, base.scores], axis=1)
        alone = row.num_evaluations == base.num_evaluations == 1
        if alone and self.units.kind == "item" and self.units.equal and np.isin(both, (0.0, 1.0)).all():
            return "McNemar, exact", mcnemar(both[:, 0], both[:, 1])
        how = "exact" if flips.exact[number] else f"{len(flips.draws):,} draws"
        return f"sign flips by {self.units.kind}, {how}", float(flips.p[number])


def _fields(
    runs: RowValues | None, base: RowValues | None, difference: float, items: ItemError, items_test: str, items_p: float
) -> tuple[dict[str, Any], Spread | None]:
    """All fields of a comparison but the counts, and what its test is made of.

    Args: runs, base: None where the benchmarks of an average have no run of the same seeds.
    """
    over_items = spread((), items)
    alone = infer(difference, over_items)
    on_items: dict[str, Any] = {
        "difference": difference, "items_test": items_test, "items_p": items_p,
        "items_low": alone.low, "items_high": alone.high,
    }  # fmt: skip
    if runs is None or base is None:
        return {**on_items, "reason": "no run of the same seeds on all its benchmarks"}, None
    if runs.is_fixed and base.is_fixed:  # no seeds: the test of the two is that over items
        ends = {"error": alone.error, "low": alone.low, "high": alone.high}
        return {**on_items, "test": items_test, "p": items_p, **ends}, over_items
    seeds = seed_error(runs, base)
    if seeds is None:
        few = any(one.num_train_seeds == 1 for one in (runs, base))
        return {**on_items, "reason": "one training seed" if few else DRAWS_MISSING}, None
    both = spread(seeds.errors, items)
    found = infer(seeds.difference, both)
    kind = "t test" if runs.is_fixed or base.is_fixed else "paired t test" if seeds.paired else "Welch's t test"
    of_method = {
        "difference": seeds.difference, "error": found.error, "low": found.low, "high": found.high,
        "test": f"{kind} over training seeds and items", "p": found.p, "num_seeds": seeds.num_seeds,
    }  # fmt: skip
    return on_items | of_method, both


def mean_runs(runs: Sequence[RowValues]) -> RowValues | None:
    """The average over the benchmarks of each run that all of them have; None where there is none."""
    if not runs:
        return None
    if all(one.is_fixed for one in runs):
        return RowValues((), np.mean([one.values for one in runs], axis=0))
    seeds = tuple(at for at in runs[0].seeds if all(at in one.seeds for one in runs))
    if not seeds:
        return None
    values = [[one.values[one.seeds.index(at)] for at in seeds] for one in runs]
    return RowValues(seeds, np.mean(values, axis=0))


def _average(labels: Sequence[str], pair: Pair, on: Sequence[Tested], average: _OnAverage) -> Tested:
    at, base = (labels[at] for at in pair)
    blank = Comparison(at, base, AVERAGE)
    sides = tuple(tuple(name for one in on for name in one.sides[side]) for side in (0, 1))
    assert len(sides) == 2
    if missing := [one.comparison.benchmark for one in on if one.comparison.items_p is None]:
        return Tested(replace(blank, reason=f"{formats.names(missing)}: not compared"), sides)
    number = len(on)
    difference = sum(average.differences) / number
    flips = np.sum(average.flips, axis=0) / number
    p = drawn_p(np.array([difference]), flips[:, None], np.array([sum(average.scales) / number]))
    runs, base_runs = (mean_runs(side) for side in zip(*average.runs, strict=True))
    test = f"sign flips within each benchmark, {len(flips):,} draws"
    fields, own_spread = _fields(runs, base_runs, difference, mean_item_error(average.items), test, float(p[0]))
    counts = [one.comparison for one in on]
    comparison = replace(
        blank, **fields, num_items=sum(c.num_items or 0 for c in counts),
        num_runs=max(c.num_runs or 0 for c in counts),
        num_baseline_runs=max(c.num_baseline_runs or 0 for c in counts),
        items_unit=" or ".join(dict.fromkeys(c.items_unit for c in counts)),
    )  # fmt: skip
    return Tested(comparison, sides, own_spread)


def _row_error(label: str, benchmark: str, runs: RowValues, items: ItemError) -> RowError:
    return RowError(label, benchmark, spread(own_error(runs), items).error, runs.num_train_seeds)


def _counts(rows: Sequence[RowRuns]) -> dict[str, Any]:
    row, base = rows
    return {
        "num_items": len(row.keys), "num_runs": row.num_evaluations, "num_baseline_runs": base.num_evaluations,
    }  # fmt: skip


def _rng(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng([SEED, int.from_bytes(digest[:8], "big")])
