"""Every row of the table against the baseline row, item by item: difference, interval, p-value, and the word for it.

Reads items.jsonl of the evaluate artifacts. Rows with unequal items or settings are not compared, and say why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from selectit.fingerprint import canonical_json
from selectit.graph import Plan
from selectit.report import formats
from selectit.report.comparisons import Comparison, Comparisons, ValueInterval, Word
from selectit.report.results import Result, settings_of
from selectit.report.table import AVERAGE, Table, baseline_of
from selectit.statistics import ALPHA
from selectit.statistics.bootstrap import interval, resample
from selectit.statistics.items import ItemScores, Mean, Units, item_weights, make_units, read_scores
from selectit.statistics.paired import SignFlips, drawn_p, holm, mcnemar, num_draws, sign_flips

ITEMS_FILE = "items.jsonl"
SEED = 0
ROUNDING = 1e-6
"""The mean over items must give the recorded value this closely."""


@dataclass(frozen=True)
class _Row:
    """The items of one row on one benchmark, averaged over its runs; or the reason why there are none."""

    keys: tuple[tuple[str, int], ...] = ()
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # float64 [num_items]
    num_runs: int = 0
    settings: str = ""
    reason: str = ""


@dataclass
class _Average:
    """Sums over the benchmarks of one row's average."""

    share: float
    """One over the number of benchmarks."""
    difference: float = 0.0
    scale: float = 0.0
    flips: np.ndarray | float = 0.0
    resampled: np.ndarray | float = 0.0

    def add(self, parts: np.ndarray, flips: np.ndarray, resampled: np.ndarray) -> None:
        self.difference += self.share * float(parts.sum())
        self.scale += self.share * float(np.abs(parts).sum())
        self.flips = self.flips + self.share * flips
        self.resampled = self.resampled + self.share * resampled


def compare(plan: Plan, results: Sequence[Result], table: Table) -> Comparisons:
    """Every row but the baseline's, on every benchmark and on the average."""
    bases = [baseline_of(plan, row) for row in plan.rows]
    pairs = [(at, base) for at, base in enumerate(bases) if at != base]
    labels = [row.label for row in plan.rows]
    of: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        of.setdefault((result.row.label, result.cell.benchmark), []).append(result)
    found: dict[tuple[int, str], Comparison] = {}
    values: list[ValueInterval] = []
    averages = {at: _Average(1 / max(1, len(table.averaged))) for at, _ in pairs}
    for benchmark in table.benchmarks:
        read: dict[str, ItemScores] = {}
        own = [[r for r in of.get((label, benchmark), ()) if r.hole is None] for label in labels]
        mean = _mean([result for row in own for result in row], read)
        rows = [_row(row, read, mean) for row in own]
        for at, base in pairs:
            reason = _obstacle(rows[at], rows[base], labels[base])
            found[at, benchmark] = Comparison(labels[at], labels[base], benchmark, reason=reason)
        for number, members in enumerate(_groups(rows)):
            assert mean is not None
            group = _Group(members, [rows[at] for at in members], mean, (benchmark, number))
            values += [ValueInterval(labels[at], benchmark, *ends) for at, ends in group.intervals()]
            compared = [pair for pair in pairs if pair[0] in members and not found[pair[0], benchmark].reason]
            if compared:
                counted = averages if benchmark in table.averaged else {}
                draws = num_draws(len(pairs) * (len(table.benchmarks) + 1))
                for at, tested in group.test(compared, draws, counted):
                    found[at, benchmark] = replace(found[at, benchmark], **tested)
    if len(table.averaged) > 1:
        for at, base in pairs:
            on = [found[at, benchmark] for benchmark in table.averaged]
            found[at, AVERAGE] = _on_average(Comparison(labels[at], labels[base], AVERAGE), on, averages[at])
    ordered = [found[at, name] for at, _ in pairs for name in (*table.benchmarks, AVERAGE) if (at, name) in found]
    return Comparisons(_judged(ordered), tuple(values))


class _Group:
    """Rows of the table with the same items of one benchmark: the same units are drawn for all of them."""

    def __init__(self, members: Sequence[int], rows: Sequence[_Row], mean: Mean, name: tuple[str, int]) -> None:
        tasks = [task for task, _ in rows[0].keys]
        self.members, self.rows, self.name = members, rows, name
        self.scores = np.stack([row.scores for row in rows], axis=1)  # [num_items, num_rows]
        self.units: Units = make_units(tasks, item_weights(tasks, mean), self.scores)
        self.resampled = resample(self.units, _rng("bootstrap", *name))  # [num_resamples, num_rows]

    def intervals(self) -> list[tuple[int, tuple[float, float]]]:
        """Position in the table -> interval of the row's value, where there is one."""
        found = [(at, interval(self.resampled[:, column])) for column, at in enumerate(self.members)]
        return [(at, ends) for at, ends in found if ends is not None]

    def test(
        self, pairs: Sequence[tuple[int, int]], draws: int, averages: dict[int, _Average]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Fields of the comparison of each pair (position, position of its baseline); `averages` are added to."""
        column_of = {at: column for column, at in enumerate(self.members)}
        ours, theirs = ([column_of[at] for at in side] for side in zip(*pairs, strict=True))
        parts = self.units.sums[:, ours] - self.units.sums[:, theirs]
        moved = self.resampled[:, ours] - self.resampled[:, theirs]
        flips = sign_flips(parts, draws, _rng("flips", *self.name))
        found = []
        for number, (at, one, other) in enumerate(zip([at for at, _ in pairs], ours, theirs, strict=True)):
            test, p = self._p(one, other, flips, number)
            low, high = interval(moved[:, number]) or (None, None)
            fields: dict[str, Any] = {
                "num_items": len(self.scores), "num_runs": self.rows[one].num_runs,
                "num_baseline_runs": self.rows[other].num_runs, "difference": float(parts[:, number].sum()),
                "low": low, "high": high, "unit": self.units.kind, "test": test, "p": p,
            }  # fmt: skip
            found.append((at, fields))
            if at in averages:
                averages[at].add(parts[:, number], flips.draws[:, number], moved[:, number])
        return found

    def _p(self, one: int, other: int, flips: SignFlips, number: int) -> tuple[str, float]:
        """The test's name and p-value: McNemar's where every item is one 0 or 1 that counts the same."""
        both = self.scores[:, [one, other]]
        alone = self.rows[one].num_runs == self.rows[other].num_runs == 1
        if alone and self.units.kind == "item" and self.units.equal and np.isin(both, (0.0, 1.0)).all():
            return "McNemar, exact", mcnemar(both[:, 0], both[:, 1])
        how = "exact" if flips.exact[number] else f"{len(flips.draws):,} draws"
        return f"sign flips by {self.units.kind}, {how}", float(flips.p[number])


def _mean(results: Sequence[Result], read: dict[str, ItemScores]) -> Mean | None:
    """The mean that the benchmark's values are: the one that gives every recorded value from its items."""
    for mean in ("items", "tasks"):
        if all(_gives(result, _scores(result, read), mean) for result in results):
            return mean  # type: ignore[return-value]
    return None


def _gives(result: Result, items: ItemScores, mean: Mean) -> bool:
    if not items.keys or np.isnan(items.scores).any():
        return True  # told by _row
    weights = item_weights([task for task, _ in items.keys], mean)
    return abs(float(weights @ items.scores) - result.record["value"]) < ROUNDING


def _scores(result: Result, read: dict[str, ItemScores]) -> ItemScores:
    assert result.artifact is not None
    path = result.artifact.path / ITEMS_FILE
    if path.as_posix() not in read:
        found = read_scores(path)
        other = next(iter(read.values()), found)
        # mostly the same items as in every other row, whose keys are kept once
        read[path.as_posix()] = replace(found, keys=other.keys) if found.keys == other.keys else found
    return read[path.as_posix()]


def _row(results: Sequence[Result], read: dict[str, ItemScores], mean: Mean | None) -> _Row:
    """Args: results: those of the row that hold a number."""
    if not results:
        return _Row(reason="there is no number")
    runs = [_scores(result, read) for result in results]
    settings = {canonical_json(settings_of(result.artifact)) for result in results if result.artifact}
    if not runs[0].keys:
        return _Row(reason="its items are not recorded")
    if len(settings) > 1 or any(run.keys != runs[0].keys for run in runs):
        return _Row(reason="its own runs differ in settings or items")
    scores = np.mean([run.scores for run in runs], axis=0)
    if missing := int(np.isnan(scores).sum()):
        return _Row(reason=f"{missing} of its items have no score")
    if mean is None:
        return _Row(reason="the value is not a mean over its items")
    return _Row(runs[0].keys, scores, len(runs), settings.pop())


def _obstacle(row: _Row, base: _Row, baseline: str) -> str:
    if row.reason or base.reason:
        return row.reason or f"{baseline}: {base.reason}"
    if row.settings != base.settings:
        return f"not run with the settings or data of {baseline}"
    if row.keys != base.keys:
        common = len(set(row.keys) & set(base.keys))
        return f"its {len(row.keys)} items and the {len(base.keys)} of {baseline} are not the same ({common} in both)"
    return ""


def _groups(rows: Sequence[_Row]) -> list[list[int]]:
    """Positions of rows with the same items."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for at, row in enumerate(rows):
        if not row.reason:
            groups.setdefault(row.keys, []).append(at)
    return list(groups.values())


def _on_average(blank: Comparison, on: Sequence[Comparison], average: _Average) -> Comparison:
    missing = [c.benchmark for c in on if c.p is None]
    if missing:
        return replace(blank, reason=f"{formats.names(missing)}: not compared")
    assert isinstance(average.flips, np.ndarray) and isinstance(average.resampled, np.ndarray)
    p = drawn_p(np.array([average.difference]), average.flips[:, None], np.array([average.scale]))
    low, high = interval(average.resampled) or (None, None)
    return replace(
        blank, num_items=sum(c.num_items or 0 for c in on), difference=average.difference, low=low, high=high,
        num_runs=max(c.num_runs or 0 for c in on), num_baseline_runs=max(c.num_baseline_runs or 0 for c in on),
        unit=" or ".join(dict.fromkeys(c.unit for c in on)), p=float(p[0]),
        test=f"sign flips within each benchmark, {len(average.flips):,} draws",
    )  # fmt: skip


def _judged(found: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """With Holm's p-values over the whole table, and the words that follow from them."""
    corrected = iter(holm([c.p for c in found if c.p is not None]))
    judged = []
    for comparison in found:
        if comparison.p is None or comparison.difference is None:
            judged.append(comparison)
            continue
        p = next(corrected)
        word: Word = "no difference shown"
        if p < ALPHA:
            word = "better" if comparison.difference > 0 else "worse"
        judged.append(replace(comparison, p_holm=p, word=word))
    return tuple(judged)


def _rng(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng([SEED, int.from_bytes(digest[:8], "big")])
