"""Plots of results: differences to the baselines with their intervals, ratio curves, benchmarks after each epoch.

Reads result.json of the evaluations after an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import short_names
from selectit.report.render import formats
from selectit.report.sections import epochs, plots
from selectit.report.sections.figures import Plot, in_turn, left_out
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.results import recipe_of
from selectit.report.tables.table import AVERAGE, Entry, Table, baseline_of, grid_point
from selectit.statistics import CONFIDENCE

MOST_DIFFERENCES = 24
RATIO = "select.ratio"


def differences(plan: Plan, table: Table, comparisons: Comparisons) -> Plot | None:
    """Every row against the row of the first baseline; the primary comparison too where it is against another."""
    first = {row.label: plan.rows[baseline_of(plan, row)].label for row in plan.rows}
    found = [
        c for c in comparisons.found if c.difference is not None and (c.primary or c.baseline == first[c.row])
    ]  # fmt: skip
    places = [
        (row, base) for row in plan.rows for base in dict.fromkeys(c.baseline for c in found if c.row == row.label)
    ]
    shown = [places[at] for at in in_turn([row for row, _ in places], MOST_DIFFERENCES)]
    at = {(row.label, base): number for number, (row, base) in enumerate(shown)}
    panels = [
        plots.ForestPanel(title, [_of_comparison(c, at) for c in own])
        for title in (AVERAGE, *table.benchmarks)
        if (own := [c for c in found if c.benchmark == title and (c.row, c.baseline) in at])
    ]
    if not panels:
        return None
    bases = {base for _, base in shown}
    labels = [row.label if len(bases) == 1 else f"{row.label} against {base}" for row, base in shown]
    against = f"{bases.copy().pop()}" if len(bases) == 1 else "the baseline row that is named"
    margin = recipe_of(plan).config.margin
    sentences = [
        f"Difference of each row to {against}, with its {CONFIDENCE:.0%} interval, not corrected for the number of "
        f"comparisons. Grey: within ±{margin:g} points, the margin of equivalence."
    ]
    drawn = [c for c in found if (c.row, c.baseline) in at]
    if any(c.low is not None for c in drawn):
        sentences.append("Filled markers: intervals over training seeds and items.")
    if any(c.low is None for c in drawn):
        sentences.append(
            "Hollow markers, dotted lines: there is one training seed, so the interval is over items alone and is "
            "about these trained models, not about the methods."
        )
    if any(c.primary for c in drawn):
        sentences.append("Diamond: the primary comparison.")
    caption = " ".join(sentences) + left_out(len(places), MOST_DIFFERENCES)
    return Plot("Differences to the baseline", plots.forest(labels, panels, margin), caption)


def _of_comparison(c: Comparison, at: Mapping[tuple[str, str], int]) -> plots.Difference:
    of_method = c.low is not None
    numbers = (c.difference, c.low, c.high) if of_method else (c.difference, c.items_low, c.items_high)
    value, low, high = (formats.percent(number) for number in numbers if number is not None)
    return plots.Difference(at[c.row, c.baseline], value, low, high, of_method, c.primary)


def ratio_curves(plan: Plan, table: Table) -> Plot | None:
    if len(set(recipe_of(plan).config.grid.get(RATIO, ()))) < 2:
        return None
    points = [grid_point(plan, row) for row in plan.rows]
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(plan.rows):
        alike = [point for point, other in zip(points, plan.rows, strict=True) if other.arm == row.arm]
        varied = [key for key in points[index] if key != RATIO and len({point[key] for point in alike}) > 1]
        names = short_names(list(points[index]))
        shown = ", ".join(f"{names[key]}={points[index][key]}" for key in varied)
        groups.setdefault(f"{row.arm} ({shown})" if shown else row.arm, []).append(index)
    panels = []
    for title in (AVERAGE, *table.benchmarks):
        curves, levels = [], []
        for group, (label, members) in enumerate(groups.items()):
            known = [
                (100 * float(points[index][RATIO]), entry.mean, entry.error or 0.0)
                for index in members
                if (entry := _entry(table, index, title)).mean is not None
            ]
            if len(members) == 1:
                levels += [(label, mean, error, group) for _, mean, error in known]
            elif known:
                x, y, errors = zip(*sorted(known), strict=True)
                curves.append(plots.Curve(label, x, y, errors, group))
        if curves:
            panels.append(plots.RatioPanel(title, curves, levels))
    if not panels:
        return None
    several = len(recipe_of(plan).config.seeds.train) > 1
    caption = (
        "Mean over seeds by selection ratio. Bands: ± one standard error over "
        f"{'training seeds and items' if several else 'items; there is one training seed'}, as in the table. "
        "Level lines without markers: rows that have no ratio."
    )
    return Plot("Ratio curve", plots.ratio_curves(panels), caption)


def _entry(table: Table, index: int, column: str) -> Entry:
    line = table.lines[index]
    return line.average if column == AVERAGE else line.entries[table.benchmarks.index(column)]


def epoch_curves(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    found = epochs.by_epoch(plan, outcomes)
    labels = list(dict.fromkeys(label for label, _ in found))
    panels = [
        plots.RatioPanel(
            benchmark,
            [
                plots.Curve(label, list(series), list(series.values()), group=labels.index(label))
                for (label, name), series in found.items()
                if name == benchmark
            ],
            [],
        )
        for benchmark in dict.fromkeys(name for _, name in found)
    ]
    if not panels:
        return None
    drawing = plots.ratio_curves(panels, "epoch", "epochs")
    return Plot("Benchmarks after each epoch", drawing, epochs.EPOCHS_NOTE)
