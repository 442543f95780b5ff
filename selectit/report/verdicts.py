"""Published numbers beside ours, each with a verdict: reproduced, not reproduced, or not comparable and why.

Reads the file that the recipe names in `published`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from selectit.config import ArmConfig
from selectit.graph import Plan, TableRow
from selectit.published import SETTINGS, PublishedNumber, read_published
from selectit.recipe import trains
from selectit.report import formats
from selectit.report.comparisons import Comparisons
from selectit.report.formats import ABSENT, Listing
from selectit.report.results import Result, recipe_of, tell_rows
from selectit.report.table import Table

Verdict = Literal["reproduced", "not reproduced", "not comparable"]
RULE = (
    "reproduced: the published value lies in our 95 % interval over items, or between the lowest and the highest value "
    "of our seeds. Only numbers whose model, pool, ratio, training, profile and metric are known and equal ours are "
    "compared; a demonstration never is."
)
COLUMNS = ("what", "published as", "row here", "verdict", "why", "published", "ours", "our interval", "our seeds")


@dataclass(frozen=True)
class Ours:
    """Our value, its interval and its seeds as text."""

    value: float | None
    """In the unit of the published number."""
    told: tuple[str, str, str]
    covers: bool | None
    """Whether the interval or the seeds hold the published value; None where there is no interval or no value."""


def verdicts(
    plan: Plan,
    results: Sequence[Result],
    table: Table,
    comparisons: Comparisons,
    subset_numbers: Mapping[tuple[str, str], float],
) -> tuple[Listing, str]:
    """One line per published number and row of the strategy that it stands for; and whose numbers they are.

    Rows that are not comparable for the same reason share a line, for nothing follows from each of them.

    Args: subset_numbers: (row label, `subset` of a published number) -> ours, in its unit.
    """
    location = recipe_of(plan).config.published
    if location is None:
        return Listing((), ()), ""
    published = read_published(location)
    lines: list[tuple[str, ...]] = []
    for number in published.numbers:
        told = f"{number.arm}; {number.setting}{f'; {number.table}' if number.table else ''}"
        rows = [row for row in plan.rows if number.strategy is not None and _strategy(row) == number.strategy]
        if number.benchmark is not None and number.benchmark not in table.benchmarks:
            rows = []
        judged: dict[tuple[Verdict, str], list[tuple[TableRow, Ours]]] = {}
        for row in rows:
            ours = _ours(number, row, results, table, comparisons, subset_numbers)
            found = judge(number, _settings(row, results, number), _is_demonstration(plan), ours.covers)
            judged.setdefault(found, []).append((row, ours))
        for (verdict, why), alike in judged.items():
            apart = [[one] for one in alike] if verdict != "not comparable" else [alike]
            for group in apart:
                labels = tell_rows(plan, [row.label for row, _ in group])
                ours_told = _together(number, [ours for _, ours in group])
                lines.append((number.what, told, labels, verdict, why, _value(number, number.value), *ours_told))
        if not rows:
            why = (
                f"this table has no {number.benchmark}"
                if number.benchmark is not None and number.benchmark not in table.benchmarks
                else "no arm here stands for it"
            )
            lines.append(
                (number.what, told, ABSENT, "not comparable", why, _value(number, number.value), *[ABSENT] * 3)
            )
    return Listing(COLUMNS, tuple(lines), num_text_columns=5), published.source


def judge(
    number: PublishedNumber, ours: Mapping[str, object], demonstration: bool, covers: bool | None
) -> tuple[Verdict, str]:
    """The verdict and the reason for it.

    Args:
        ours: setting -> its value here.
        covers: whether our interval or the spread of our seeds holds the published value; None: there is no number.
    """
    if number.subset is not None:
        return "not comparable", "how the paper measured it is unknown"
    differ = [
        f"{name} {ours[name]} here, {getattr(number, name)} there"
        for name in SETTINGS
        if getattr(number, name) is not None and not _same(getattr(number, name), ours[name])
    ]
    reasons = ["this recipe is a demonstration"] if demonstration else []
    reasons += differ
    if number.unknown:
        reasons.append(f"unknown there: {', '.join(number.unknown)}")
    if covers is None:
        reasons.append("there is no number here")
    if reasons:
        return "not comparable", "; ".join(reasons)
    return ("reproduced", "inside") if covers else ("not reproduced", "outside our interval and our seeds")


def _same(theirs: object, ours: object) -> bool:
    """Names of models and pools are compared without their owner or folder."""
    if isinstance(theirs, str) and isinstance(ours, str):
        return theirs.rsplit("/", 1)[-1].casefold() == ours.rsplit("/", 1)[-1].casefold()
    return theirs == ours


def _settings(row: TableRow, results: Sequence[Result], number: PublishedNumber) -> dict[str, object]:
    config: ArmConfig = row.config
    own = [r for r in results if r.row.label == row.label and r.cell.benchmark == number.benchmark]
    return {
        "model": config.model.path,
        "pool": config.pool.path,
        "ratio": getattr(config.select, "ratio", 1.0),
        "training": config.finetune.method,
        "profile": formats.names(list(dict.fromkeys(r.record.get("profile", "") for r in own))),
        "metric": formats.names(list(dict.fromkeys(r.record.get("metric", "") for r in own))),
    }


def _ours(
    number: PublishedNumber,
    row: TableRow,
    results: Sequence[Result],
    table: Table,
    comparisons: Comparisons,
    subset_numbers: Mapping[tuple[str, str], float],
) -> Ours:
    if number.benchmark is None:
        value = subset_numbers.get((row.label, number.what))
        return Ours(value, (ABSENT if value is None else _value(number, value), ABSENT, ABSENT), None)
    line = next(line for line in table.lines if line.label == row.label)
    entry = line.entries[table.benchmarks.index(number.benchmark)]
    values = [
        formats.percent(result.value)
        for result in results
        if (result.row.label, result.cell.benchmark) == (row.label, number.benchmark) and result.value is not None
    ]
    found = [v for v in comparisons.values if (v.row, v.benchmark) == (row.label, number.benchmark)]
    ranges = [(formats.percent(v.low), formats.percent(v.high)) for v in found]
    told = f"{ranges[0][0]:.1f} to {ranges[0][1]:.1f}" if ranges else ABSENT
    seeds = ABSENT
    if len(values) > 1:
        ranges.append((min(values), max(values)))
        seeds = f"{min(values):.1f} to {max(values):.1f}"
    covers = None if entry.mean is None else any(low <= number.value <= high for low, high in ranges)
    unmarked = replace(entry, word="")  # an arrow beside a published number would be read as a comparison with it
    return Ours(entry.mean, (unmarked.marked, told, seeds), covers)


def _together(number: PublishedNumber, found: Sequence[Ours]) -> tuple[str, str, str]:
    """Lowest to highest value of several rows; of one row, with its interval and its seeds."""
    if len(found) == 1:
        return found[0].told
    return formats.spread((ours.value for ours in found), lambda value: _value(number, value)), ABSENT, ABSENT


def _value(number: PublishedNumber, value: float) -> str:
    return f"{value:.2f} %" if number.unit == "percent" else f"{value:.2f}"


def _strategy(row: TableRow) -> str:
    return row.config.select.strategy if trains(row.config.finetune) else "none"


def _is_demonstration(plan: Plan) -> bool:
    return recipe_of(plan).config.demonstration
