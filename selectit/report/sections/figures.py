"""Which plots a report has, from which numbers, and what is said under each.

Reads metrics.jsonl and row_tokens.json of the training runs; matplotlib is imported when the first plot is drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from selectit.data.jsonl import read_jsonl
from selectit.plan.graph import Plan, Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import short_names, trains
from selectit.report.render import formats
from selectit.report.sections import epochs
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.results import UNTOUCHED, recipe_of
from selectit.report.tables.subsets import Overlap, Subset, first_seed, training_of
from selectit.report.tables.table import AVERAGE, Entry, Table, baseline_of, grid_point
from selectit.selection.strategy import strategy_of
from selectit.statistics import CONFIDENCE
from selectit.store.names import METRICS_FILE, ROW_TOKENS_FILE

if TYPE_CHECKING:
    from selectit.report.sections import plots

MOST_PANELS = 12
MOST_IN_HEAT_MAP = 16
MOST_CURVES = 24
MOST_DIFFERENCES = 24
RATIO = "select.ratio"


@dataclass(frozen=True)
class Plot:
    title: str
    svg: str
    caption: str


def draw(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    table: Table,
    comparisons: Comparisons,
    subsets: Sequence[Subset],
    pairs: Sequence[Overlap],
) -> list[Plot]:
    """Every plot for which there are numbers."""
    one_each = first_seed(subsets)
    plots = (
        _forest(plan, table, comparisons),
        _ratio_curve(plan, table),
        _scores(one_each),
        _lengths(one_each),
        _tokens(plan, outcomes),
        _overlap(one_each, pairs),
        _losses(plan, outcomes),
        _validation(plan, outcomes),
        _epochs(plan, outcomes),
    )
    return [plot for plot in plots if plot is not None]


def _forest(plan: Plan, table: Table, comparisons: Comparisons) -> Plot | None:
    """Every row against the row of the first baseline; the primary comparison too where it is against another."""
    from selectit.report.sections import plots

    first = {row.label: plan.rows[baseline_of(plan, row)].label for row in plan.rows}
    found = [
        c for c in comparisons.found if c.difference is not None and (c.primary or c.baseline == first[c.row])
    ]  # fmt: skip
    places = [
        (row, base) for row in plan.rows for base in dict.fromkeys(c.baseline for c in found if c.row == row.label)
    ]
    shown = [places[at] for at in _in_turn([row for row, _ in places], MOST_DIFFERENCES)]
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
    caption = " ".join(sentences) + _left_out(len(places), MOST_DIFFERENCES)
    return Plot("Differences to the baseline", plots.forest(labels, panels, margin), caption)


def _of_comparison(c: Comparison, at: Mapping[tuple[str, str], int]) -> plots.Difference:
    from selectit.report.sections import plots

    of_method = c.low is not None
    numbers = (c.difference, c.low, c.high) if of_method else (c.difference, c.items_low, c.items_high)
    value, low, high = (formats.percent(number) for number in numbers if number is not None)
    return plots.Difference(at[c.row, c.baseline], value, low, high, of_method, c.primary)


def _scores(subsets: Sequence[Subset]) -> Plot | None:
    from selectit.report.sections import plots

    found = [s for s in subsets if s.config.select.score_name() is not None]
    panels = [
        plots.Distribution(
            s.row.label, s.scores[np.isfinite(s.scores)], s.scores[s.selected],
            s.summary.get("lowest_selected_score"), s.config.select.score_name() or "",
        )
        for s in _shown(found, MOST_PANELS)
    ]  # fmt: skip
    if not panels:
        return None
    caption = (
        "Scores of all rows that could be scored; the selected part is coloured, and the cut-off is the lowest "
        "selected score."
    )
    return Plot("Score distributions", plots.score_distributions(panels), caption + _left_out(len(found), MOST_PANELS))


def _lengths(subsets: Sequence[Subset]) -> Plot | None:
    from selectit.report.sections import plots

    found = [s for s in subsets if not strategy_of(s.config).takes_all]
    shown = _shown(found, MOST_PANELS)
    panels = [plots.Distribution(s.row.label, s.response_chars, s.response_chars[s.selected]) for s in shown]
    if not panels:
        return None
    medians = [f"{s.row.label} {formats.count(_median(s.response_chars[s.selected]))}" for s in shown]
    pool = formats.spread(_median(s.response_chars) for s in found)
    caption = (
        f"Length of the response in characters (bins grow with the length). Medians: pool {pool}; {'; '.join(medians)}."
    )
    return Plot("Response lengths", plots.length_distributions(panels), caption + _left_out(len(found), MOST_PANELS))


def _tokens(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    """Of the first training of each row; trainings of before the file was written are passed over."""
    from selectit.report.sections import plots

    found: list[tuple[TableRow, np.ndarray, np.ndarray]] = []
    for row in plan.rows:
        stage = next((stage for cell in row.cells if (stage := training_of(cell))), None)
        artifact = outcomes.get(stage, UNTOUCHED).artifact if stage else None
        path = artifact.path / ROW_TOKENS_FILE if artifact else None
        if path and path.is_file():
            tokens = json.loads(path.read_text(encoding="utf-8"))
            found.append((row, np.array(tokens["tokens"]), np.array(tokens["trained_tokens"])))
    shown = [found[at] for at in _in_turn([row for row, *_ in found], MOST_PANELS)]
    if not shown:
        return None
    medians = [
        f"{row.label} {formats.count(_median(whole))} and {formats.count(_median(part))}" for row, whole, part in shown
    ]
    caption = (
        "Tokens of the rows that each arm trains on, by the model's tokenizer and after cutting at max_length: of the "
        f"whole row, template included, and of the part that enters the loss. Medians: {'; '.join(medians)}."
    )
    panels = [plots.Distribution(row.label, whole, part) for row, whole, part in shown]
    svg = plots.length_distributions(panels, "tokens", ("whole row", "trained on"), "tokens")
    return Plot("Tokens per training row", svg, caption + _left_out(len(found), MOST_PANELS))


def _overlap(subsets: Sequence[Subset], pairs: Sequence[Overlap]) -> Plot | None:
    from selectit.report.sections import plots

    shown = _shown(subsets, MOST_IN_HEAT_MAP)
    if len(shown) < 2:
        return None
    at = {id(subset): index for index, subset in enumerate(shown)}
    jaccard = np.full((len(shown), len(shown)), np.nan)
    np.fill_diagonal(jaccard, 1.0)
    for pair in pairs:
        if id(pair.one) in at and id(pair.other) in at:
            one, other = at[id(pair.one)], at[id(pair.other)]
            jaccard[one, other] = jaccard[other, one] = pair.jaccard
    caption = (
        "Rows in both subsets over rows in either (first selection seed of each arm; overlap.csv has all). "
        "Subsets of different size cannot reach 1."
    )
    return Plot(
        "Overlap between arms", plots.overlap_heat_map([s.row.label for s in shown], jaccard),
        caption + _left_out(len(subsets), MOST_IN_HEAT_MAP),
    )  # fmt: skip


def _losses(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    from selectit.report.sections import plots

    curves = []
    trained = [row for row in plan.rows if trains(row.config.finetune)]
    for group, row in enumerate(trained[at] for at in _in_turn(trained, MOST_CURVES)):
        drawn = 0
        for stage in dict.fromkeys(training_of(cell) for cell in row.cells):
            artifact = outcomes.get(stage, UNTOUCHED).artifact if stage else None
            path = artifact.path / METRICS_FILE if artifact else None
            lines = read_jsonl(path) if path and path.is_file() else []
            points = {line["step"]: line["train/loss"] for line in lines if "train/loss" in line and "step" in line}
            if points:
                losses = list(points.values())
                curves.append(plots.Curve(row.label, list(points), losses, group=group, is_repeat=drawn > 0))
                drawn += 1
    if not curves:
        return None
    repeats = " Further seeds of an arm are pale." if any(curve.is_repeat for curve in curves) else ""
    caption = f"Loss on the response tokens of each optimiser step, as it was logged.{repeats}"
    return Plot("Training loss", plots.loss_curves(curves), caption + _left_out(len(trained), MOST_CURVES))


def _validation(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    from selectit.report.sections import plots

    found = epochs.trainings(plan, outcomes)
    curves = []
    for group, row in enumerate(list(found)[at] for at in _in_turn(list(found), MOST_CURVES)):
        for drawn, record in enumerate(found[row]):
            x, y = ([entry[name] for entry in record["validation"]] for name in ("epoch", "loss"))
            curves.append(plots.Curve(row.label, x, y, group=group, is_repeat=drawn > 0))
    if not curves:
        return None
    drawing = plots.loss_curves(curves, "epoch", "validation loss (nats per token)", "validation")
    return Plot("Validation loss", drawing, epochs.VALIDATION_NOTE + _left_out(len(found), MOST_CURVES))


def _epochs(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Plot | None:
    from selectit.report.sections import plots

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


def _ratio_curve(plan: Plan, table: Table) -> Plot | None:
    if len(set(recipe_of(plan).config.grid.get(RATIO, ()))) < 2:
        return None
    from selectit.report.sections import plots

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


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _left_out(count: int, shown: int) -> str:
    return f" {shown} of {count} rows are shown, of each arm the first ones." if count > shown else ""


def _in_turn(rows: Sequence[TableRow], most: int) -> list[int]:
    """Positions of at most so many rows, in their order: one of each arm, then a second of each, and so on."""
    turns: Counter[str] = Counter()
    order = []
    for at, row in enumerate(rows):
        order.append((turns[row.arm], at))
        turns[row.arm] += 1
    return sorted(at for _, at in sorted(order)[:most])


def _shown(subsets: Sequence[Subset], most: int) -> list[Subset]:
    return [subsets[at] for at in _in_turn([s.row for s in subsets], most)]
