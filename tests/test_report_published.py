"""Published numbers beside ours: when a verdict may say reproduced, and why it mostly may not."""

from __future__ import annotations

import pytest
import yaml
from test_report import ONLY_BASE, World

from selectit.errors import UserError
from selectit.plan import build
from selectit.published import PublishedNumber, read_published
from selectit.recipe import load
from selectit.report.verdicts import judge
from selectit.report.write import read_table


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])  # test_report.py has the plots
    return lambda **changes: World(tmp_path, demo, **changes)


KNOWN = {
    "benchmark": "gsm8k", "value": 16.0, "unit": "percent", "arm": "SelectIT", "strategy": "selectit",
    "setting": "table 3", "model": "some/model", "pool": "pool.jsonl", "ratio": 0.2, "training": "lora",
    "profile": "paper-2023", "metric": "acc",
}  # fmt: skip
"""What the hand-made world has; its value on gsm8k is 15.0, with seeds at 14 and 16."""


def published(tmp_path, *numbers):
    path = tmp_path / "numbers.yaml"
    path.write_text(yaml.safe_dump({"source": "A paper (2020)", "numbers": list(numbers)}))
    return str(path)


def verdict(world, tmp_path, **changes):
    made = world(published=published(tmp_path, {**KNOWN, **changes}), **ONLY_SELECTIT)
    made.report()
    [line] = [line for line in made.text("report.md").splitlines() if line.startswith("| gsm8k |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


ONLY_SELECTIT = {
    "arms": {"base": {"finetune": {"method": "none"}}, "selectit": {"select": {"strategy": "selectit"}}},
    "baseline": "base",
}


def test_a_value_inside_our_interval_or_seeds_under_equal_settings_is_reproduced(world, tmp_path):
    found = verdict(world, tmp_path)
    assert found[2:5] == ["selectit", "reproduced", "inside"]
    assert found[5:] == ["16.00 %", "15.0 ± 1.4", found[7], "14.0 to 16.0"]


def test_a_value_outside_is_not_reproduced(world, tmp_path):
    assert verdict(world, tmp_path, value=40.0)[3] == "not reproduced"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ratio": 0.1}, "ratio 0.2 here, 0.1 there"),
        ({"metric": "exact"}, "metric acc here, exact there"),
        ({"training": "full"}, "training lora here, full there"),
        ({"model": None, "profile": None}, "unknown there: model, profile"),
    ],
)
def test_a_setting_that_differs_or_is_unknown_is_named(world, tmp_path, change, why):
    number = PublishedNumber(**{**KNOWN, **change})
    ours = {"model": "/x/model", "pool": "/y/pool.jsonl", "ratio": 0.2, "training": "lora", "profile": "paper-2023"}
    assert judge(number, {**ours, "metric": "acc"}, False, True) == ("not comparable", why)


def test_rows_that_are_not_comparable_for_one_reason_share_a_line(world, tmp_path):
    unknown = {**KNOWN, "model": None, "ratio": None}
    grid = {"select.ratio": [0.1, 0.2, 0.3]}
    made = world(published=published(tmp_path, unknown, KNOWN), grid=grid, **ONLY_SELECTIT)
    made.report()
    lines = [line for line in made.text("report.md").splitlines() if line.startswith("| gsm8k |")]
    assert len(lines) == 1 + 3  # where the ratio is known, each row has its own reason
    assert "selectit (all 3 rows)" in lines[0] and "unknown there: model, ratio" in lines[0]


def test_a_demonstration_is_never_reproduced():
    ours = {name: KNOWN[name] for name in ("model", "pool", "ratio", "training", "profile", "metric")}
    number = PublishedNumber(**KNOWN)
    assert judge(number, ours, False, True)[0] == "reproduced"
    assert judge(number, ours, True, True) == ("not comparable", "this recipe is a demonstration")
    assert judge(number, ours, False, None) == ("not comparable", "there is no number here")


def test_the_numbers_that_ship_are_all_told_and_none_is_compared(world):
    made = world(published="selectit", **ONLY_BASE)
    made.report()
    lines = [line for line in made.text("report.md").splitlines() if "| not comparable |" in line]
    assert len(lines) == len(read_published("selectit").numbers) == 13
    assert all(f"{value} %" in made.text("report.html") for value in ("55.70", "61.20", "46.11", "4.34"))
    assert "arXiv 2402.16705" in made.text("report.html")


def test_a_changed_file_of_published_numbers_changes_the_report_and_no_stage(world, tmp_path):
    before = world(**ONLY_BASE)
    assert before.report().written
    after = world(published=published(tmp_path, KNOWN), **ONLY_BASE)
    assert after.plan.stages == before.plan.stages
    assert after.report().written and not after.report().written
    assert read_table(after.plan, after.outcomes)[2] == read_table(before.plan, before.outcomes)[2]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        ({**KNOWN, "modle": "x"}, "numbers.0.modle: not a field"),
        ({**KNOWN, "value": "high"}, "numbers.0.value: Input should be a valid number"),
        ({**KNOWN, "subset": "calculation_rows"}, "numbers.0: give one of benchmark and subset"),
    ],
)
def test_a_wrong_file_is_refused_with_the_recipe(world, tmp_path, number, told):
    with pytest.raises(UserError, match=told):
        world(published=published(tmp_path, number), **ONLY_BASE)


def test_a_missing_file_is_told(world):
    with pytest.raises(UserError, match=r"published: there is no file nowhere\.yaml; write selectit or"):
        world(published="nowhere.yaml", **ONLY_BASE)


def test_the_gpu_recipe_names_the_published_numbers(root):
    assert build(load(root / "recipes" / "llama2-7b-lora.yaml")).recipe.config.published == "selectit"
