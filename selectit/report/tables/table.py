"""The table to defend: rows x benchmarks in percent, each with its error, and the difference to the first baseline.

A benchmark counts in the average only where every row has it, so that averages stay comparable. Every place
without a number carries the number of a note with the reason. Reads and writes nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from selectit.plan.graph import Cell, Plan, TableRow
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.tables.comparisons import Comparison, Comparisons, RowError
from selectit.report.tables.results import MissingResult, Result, recipe_of, rows_text

DAGGER = "†"
MARKS = {"better": "↑", "worse": "↓"}
"""Word of a comparison with the first baseline -> its mark; the other words have none."""
AVERAGE = "average"


@dataclass(frozen=True)
class Entry:
    """One place of the table: percent, or points for a difference; `mean` is None for a missing result."""

    text: str
    mean: float | None = None
    std: float | None = None
    """Sample standard deviation over seeds; None where there is one value."""
    error: float | None = None
    """Standard error over training seeds and items; with one training seed over items alone."""
    num_seeds: int = 0
    """Training seeds behind the value; 0 where nothing is trained."""
    notes: tuple[int, ...] = ()
    """Numbers of `Table.notes`, from 1."""
    failed: bool = False
    incomplete: bool = False
    word: str = ""
    """Of the comparison with the row of the first baseline, see `comparisons.Word`."""

    @property
    def mark(self) -> str:
        return MARKS.get(self.word, "")

    @property
    def marked(self) -> str:
        """The text with its marks, such as `41.2 ± 0.8 (3)↑† [1]`."""
        numbers = "".join(f" [{number}]" for number in self.notes)
        return f"{self.text}{self.mark}{DAGGER if self.incomplete else ''}{numbers}"


@dataclass(frozen=True)
class Line:
    """One row. `differences` stand to the same benchmarks of the baseline row."""

    label: str
    is_baseline: bool
    entries: tuple[Entry, ...]
    average: Entry
    difference: Entry
    differences: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    benchmarks: tuple[str, ...]
    averaged: tuple[str, ...]
    """The benchmarks that the average is taken over."""
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    """Why a number is missing, or is a mean of fewer seeds than its neighbours."""
    caption: tuple[str, ...] = ()
    secondary: tuple[str, ...] = ()
    """Of the columns those that hold another metric of the evaluation of a column before them."""
    demonstration: str = ""
    """What must be said above the table of a demonstration; empty otherwise."""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("arm", *self.benchmarks, AVERAGE, "difference")


@dataclass
class Notes:
    """Numbers the reasons of missing results; places with one reason share one note."""

    places: dict[MissingResult, dict[str, list[str]]] = field(default_factory=dict)
    """Missing result -> row, with its seeds where it has several -> benchmarks."""

    def number(self, missing: MissingResult, benchmark: str, row: str) -> int:
        self.places.setdefault(missing, {}).setdefault(row, []).append(benchmark)
        return list(self.places).index(missing) + 1

    def texts(self, plan: Plan, benchmarks: tuple[str, ...]) -> tuple[str, ...]:
        texts = []
        for missing, places in self.places.items():
            rows: dict[tuple[str, ...], list[str]] = {}
            for row, names in places.items():
                rows.setdefault(tuple(names), []).append(row)
            where = [
                f"{'all benchmarks' if names == benchmarks else formats.names(names)} of {rows_text(plan, found)}"
                for names, found in rows.items()
            ]
            texts.append(f"{missing.kind}: {missing.reason} ({'; '.join(where)})")
        return tuple(texts)


def make_table(plan: Plan, results: Sequence[Result]) -> Table:
    """The table without its caption and demonstration notice, which `write.read_table` adds."""
    of: dict[tuple[int, str], list[Result]] = {}
    number = {id(row): index for index, row in enumerate(plan.rows)}
    for result in results:
        of.setdefault((number[id(result.row)], result.cell.benchmark), []).append(result)
    benchmarks = tuple(dict.fromkeys(result.cell.benchmark for result in results))
    notes = Notes()
    entries = [
        tuple(_entry(row, name, of.get((index, name), []), notes) for name in benchmarks)
        for index, row in enumerate(plan.rows)
    ]
    secondary = tuple(dict.fromkeys(result.cell.benchmark for result in results if result.is_secondary))
    averaged = tuple(name for name in _averaged(benchmarks, entries) if name not in secondary)
    averages = [
        _average(
            {name: entry for name, entry in zip(benchmarks, found, strict=True) if name in averaged},
            {name: of.get((index, name), []) for name in averaged},
        )
        for index, found in enumerate(entries)
    ]
    lines = []
    for index, row in enumerate(plan.rows):
        base = baseline_of(plan, row)
        bases = baselines_of(plan, row)
        lines.append(
            Line(
                row.label, index in bases, entries[index], averages[index],
                _difference(averages[index], averages[base]),
                tuple(_difference(*pair) for pair in zip(entries[index], entries[base], strict=True)),
            )
        )  # fmt: skip
    return Table(benchmarks, averaged, tuple(lines), notes.texts(plan, benchmarks), secondary=secondary)


def mark_table(plan: Plan, table: Table, comparisons: Comparisons) -> Table:
    """The table with the error of each value, and the word of each comparison with the first baseline."""
    whole = AVERAGE if len(table.averaged) != 1 else table.averaged[0]
    lines = []
    for row, line in zip(plan.rows, table.lines, strict=True):
        base = plan.rows[baseline_of(plan, row)].label
        own = [comparisons.of(line.label, name, base) for name in table.benchmarks]
        errors = [comparisons.error_of(line.label, name) for name in table.benchmarks]
        on_average = comparisons.of(line.label, whole, base)
        lines.append(
            replace(
                line, entries=tuple(map(_with_error, map(_worded, line.entries, own), errors)),
                average=_with_error(_worded(line.average, on_average), comparisons.error_of(line.label, whole)),
                difference=_worded(line.difference, on_average),
                differences=tuple(map(_worded, line.differences, own)),
            )
        )  # fmt: skip
    return replace(table, lines=tuple(lines))


def _worded(entry: Entry, comparison: Comparison | None) -> Entry:
    return replace(entry, word=comparison.word) if comparison and entry.mean is not None else entry


def _with_error(entry: Entry, found: RowError | None) -> Entry:
    if found is None or entry.mean is None:
        return entry
    error = formats.percent(found.error)
    text = formats.value(entry.mean, error, found.num_seeds)
    return replace(entry, text=text, error=error, num_seeds=found.num_seeds)


def baseline_of(plan: Plan, row: TableRow) -> int:
    """Position of the row of the first baseline arm that this row is compared with."""
    return baselines_of(plan, row)[0]


def baselines_of(plan: Plan, row: TableRow) -> list[int]:
    """Position of the row of each baseline arm that this row is compared with: at the nearest point of the grid."""
    point = grid_point(plan, row).items()
    nearest = []
    for arm in recipe_of(plan).config.baselines:
        candidates = [index for index, other in enumerate(plan.rows) if other.arm == arm]
        nearest.append(max(candidates, key=lambda index: len(point & grid_point(plan, plan.rows[index]).items())))
    return nearest


def grid_point(plan: Plan, row: TableRow) -> dict[str, str]:
    """Dotted key -> value, as text, of each grid dimension; of rows that the grid does not change, the first."""
    own = next(r for r in recipe_of(plan).rows if r.arm == row.arm and r.config == row.config)
    return {key: str(value) for key, value in own.point}


def _entry(row: TableRow, benchmark: str, results: Sequence[Result], notes: Notes) -> Entry:
    if not results:
        missing = MissingResult("not run", "the arm leaves it out (evaluate.benchmarks, or another judge)")
        return Entry(missing.kind, notes=(notes.number(missing, benchmark, row.label),))
    values = [formats.percent(r.value) for r in results if r.value is not None]
    missing_results = [(r.missing, _place(r, len(results))) for r in results if r.missing is not None]
    numbers = tuple(dict.fromkeys(notes.number(missing, benchmark, place) for missing, place in missing_results))
    failed = any(missing.kind == "failed" for missing, _ in missing_results)
    if not values:
        return Entry(missing_results[0][0].kind, notes=numbers, failed=failed)
    mean = statistics.fmean(values)
    std = statistics.stdev(values) if len(values) > 1 else None
    incomplete = any(not r.is_complete for r in results if not r.missing)
    # what the items of other metrics cannot give is taken from the seeds, or from the result itself
    errors = [
        formats.percent(r.record["stderr"]) for r in results if not r.missing and r.record.get("stderr") is not None
    ]
    seeds = len({r.cell.train_seed for r in results if r.value is not None and trains(row.config.finetune)})
    error = std / len(values) ** 0.5 if std is not None else errors[0] if errors else None
    text = formats.value(mean, error, seeds)
    return Entry(text, mean, std, error, seeds, numbers, failed, incomplete)


def _place(result: Result, num_cells: int) -> str:
    cell = result.cell
    seeds = f"{cell.select_seed}/{cell.train_seed}/{cell.eval_seed}"
    return f"{result.row.label} at select/train/eval seeds {seeds}" if num_cells > 1 else result.row.label


def _averaged(benchmarks: Sequence[str], entries: Sequence[Sequence[Entry]]) -> tuple[str, ...]:
    """Scored in every row; a row with no number at all would leave nothing, and is passed over."""
    living = [found for found in entries if any(entry.mean is not None for entry in found)]
    return tuple(
        name for at, name in enumerate(benchmarks) if living and all(found[at].mean is not None for found in living)
    )


def _average(entries: Mapping[str, Entry], results: Mapping[str, Sequence[Result]]) -> Entry:
    """Mean of the means that stand in the row; its spread is that of the averages of single seed combinations."""
    means = [entry.mean for entry in entries.values() if entry.mean is not None]
    if not means or len(means) < len(entries):
        return Entry(formats.ABSENT)
    mean = statistics.fmean(means)
    per_seeds = []
    for seeds in dict.fromkeys(_seeds(r.cell) for found in results.values() for r in found):
        values = [_at(found, seeds).value for found in results.values()]
        known = [formats.percent(v) for v in values if v is not None]
        if len(known) == len(values):
            per_seeds.append(statistics.fmean(known))
    std = statistics.stdev(per_seeds) if len(per_seeds) > 1 else None
    numbers = tuple(sorted({number for entry in entries.values() for number in entry.notes}))
    incomplete = any(entry.incomplete for entry in entries.values())
    failed = any(entry.failed for entry in entries.values())
    return Entry(formats.value(mean), mean, std, notes=numbers, failed=failed, incomplete=incomplete)


def _seeds(cell: Cell) -> tuple[int, int, int]:
    return cell.select_seed, cell.train_seed, cell.eval_seed


def _at(results: Sequence[Result], seeds: tuple[int, int, int]) -> Result:
    """A benchmark's result at a seed combination; seeds that it does not depend on stand in the plan once."""
    return max(results, key=lambda result: sum(a == b for a, b in zip(_seeds(result.cell), seeds, strict=True)))


def _difference(entry: Entry, base: Entry) -> Entry:
    if entry.mean is None or base.mean is None:
        return Entry(formats.ABSENT)
    difference = entry.mean - base.mean
    return Entry(formats.points(difference), difference)
