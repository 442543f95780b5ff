"""The forest plot and the ratio curves hold the table's differences, intervals and errors."""

from __future__ import annotations

import re

import pytest
from test_report import World, line_of

from selectit.report import contents
from selectit.report.sections import plots
from selectit.report.write import read_table

THREE = {"seeds": {"select": [7], "train": [1, 2, 3], "eval": [42]}}


@pytest.fixture
def world(tmp_path, demo):
    return lambda **changes: World(tmp_path, demo, **changes)


def drawn(made, monkeypatch, name: str):
    """The plot of the report, and what the drawing function was given."""
    given = []
    draw = getattr(plots, name)
    monkeypatch.setattr(plots, name, lambda *arguments: given.append(arguments) or draw(*arguments))
    _, table, comparisons = read_table(made.plan, made.outcomes)
    found = contents.draw(made.plan, made.outcomes, table, comparisons, [], [])
    return found[0], given[0], table, comparisons


def test_the_forest_plot_holds_every_interval_against_the_first_baseline(world, monkeypatch):
    primary = {"row": "selectit", "against": "random", "on": "average"}
    made = world(**THREE, primary=primary, margin=1.5)
    plot, (labels, panels, margin), _, comparisons = drawn(made, monkeypatch, "forest")
    assert (labels, margin) == (["base", "full", "selectit"], 1.5)  # the baseline is not compared with itself
    assert [panel.title for panel in panels] == ["average", "mmlu", "gsm8k"]
    for panel in panels:
        assert [one.at for one in panel.differences] == [0, 1, 2]
        for one in panel.differences:
            c = comparisons.of(labels[one.at], panel.title)
            assert (one.value, one.low, one.high) == pytest.approx((100 * c.difference, 100 * c.low, 100 * c.high))
            assert one.low <= one.value <= one.high and one.of_method
    [marked] = [one for panel in panels for one in panel.differences if one.is_primary]
    assert marked in panels[0].differences and labels[marked.at] == "selectit"
    assert "±1.5 points" in plot.caption and "Diamond" in plot.caption and "Hollow" not in plot.caption


def test_with_one_training_seed_the_forest_plot_shows_intervals_over_items_and_reports_it(world, monkeypatch):
    made = world(seeds={"select": [7], "train": [1], "eval": [42]})
    plot, (labels, panels, _), _, comparisons = drawn(made, monkeypatch, "forest")
    c = comparisons.of("selectit", "gsm8k")
    [one] = [one for one in panels[-1].differences if labels[one.at] == "selectit"]
    assert (one.low, one.high) == pytest.approx((100 * c.items_low, 100 * c.items_high)) and not one.of_method
    assert "about these trained models, not about the methods" in plot.caption


def test_models_that_answer_alike_have_an_interval_in_the_forest_plot(world, monkeypatch):
    made = world(seeds={"select": [7], "train": [1], "eval": [42]})
    made.change("selectit", "mmlu", value=0.28)  # as random's
    plot, (labels, panels, _), *_ = drawn(made, monkeypatch, "forest")
    [one] = [one for one in panels[1].differences if labels[one.at] == "selectit"]
    assert one.value == 0.0 and one.low == -one.high < 0
    assert "the interval is over items alone" in plot.caption


def test_a_primary_comparison_with_a_second_baseline_is_in_the_forest_plot(world, monkeypatch):
    primary = {"row": "selectit", "against": "full", "on": "mmlu"}
    made = world(**THREE, baseline=None, baselines=["random", "full"], primary=primary)
    _, (labels, panels, _), *_ = drawn(made, monkeypatch, "forest")
    assert "selectit against full" in labels and "selectit against random" in labels
    marked = [(panel.title, labels[one.at]) for panel in panels for one in panel.differences if one.is_primary]
    assert marked == [("mmlu", "selectit against full")]


def test_a_report_without_a_comparison_has_no_forest_plot(world):
    made = world(arms={"base": {"finetune": {"method": "none"}}}, baseline="base")
    _, table, comparisons = read_table(made.plan, made.outcomes)
    assert contents.draw(made.plan, made.outcomes, table, comparisons, [], []) == []


def test_bands_of_the_ratio_curves_are_the_errors_of_the_table(world, monkeypatch):
    made = world(grid={"select.ratio": [0.1, 0.2]})
    _, table, comparisons = read_table(made.plan, made.outcomes)
    given = []
    monkeypatch.setattr(plots, "ratio_curves", lambda panels: given.append(panels) or "")
    contents.draw(made.plan, made.outcomes, table, comparisons, [], [])
    [panels] = given
    mmlu = next(panel for panel in panels if panel.title == "mmlu")
    curve = next(curve for curve in mmlu.curves if curve.label == "selectit")
    rows = [line_of(table, f"selectit (ratio={ratio})") for ratio in (0.1, 0.2)]
    assert list(curve.y) == [row.entries[0].mean for row in rows]
    assert list(curve.spread) == [row.entries[0].error for row in rows] and min(curve.spread) > 0
    levels = {label: (value, error) for label, value, error, _ in mmlu.levels}
    base = line_of(table, "base").entries[0]
    assert levels["base"] == (base.mean, base.error)


def test_no_font_of_a_machine_moves_anything_in_a_plot():
    panel = plots.ForestPanel("average", [plots.Difference(0, 1.0, -1.0, 3.0, True)])
    text = plots.forest(["a row"], [panel], 2.0)
    assert text == plots.forest(["a row"], [panel], 2.0)
    assert plots.STYLE["font.sans-serif"] == ["DejaVu Sans"]  # matplotlib's own; others are not on every machine
    fonts = set(re.findall(r"font-family: ([^;]*)", text))
    assert fonts == {"Helvetica, Arial, 'DejaVu Sans', sans-serif"}


def test_names_in_any_script_are_text_in_the_plot_and_no_warning(recwarn):
    panel = plots.ForestPanel("average", [plots.Difference(0, 1.0, -1.0, 3.0, True)])
    assert "名前" in plots.forest(["名前"], [panel], 2.0) and not recwarn.list
