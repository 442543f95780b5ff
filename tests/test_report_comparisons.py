"""Which rows the report tests against the baseline, what it says of them, and when it refuses to."""

from __future__ import annotations

import csv
import json

import pytest
from scipy.stats import binomtest
from test_report import World, line_of, terminal

from selectit.execution import Outcome
from selectit.report.write import read_table

ONE_SEED = {"seeds": {"select": [7], "train": [1], "eval": [42]}}


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])  # test_report.py has the plots
    return lambda **changes: World(tmp_path, demo, **changes)


def comparisons(made):
    return read_table(made.plan, made.outcomes)[2]


def rewrite_items(made, arm: str, benchmark: str, change) -> None:
    """Change the item lines of every evaluation of an arm on a benchmark."""
    for stage in made.stages(arm, "evaluate", benchmark):
        path = made.outcomes[stage].artifact.path / "items.jsonl"
        lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not None))


def test_one_run_each_on_zero_or_one_scores_is_mcnemar(world):
    found = comparisons(world(**ONE_SEED)).of("selectit", "gsm8k")  # 28 items against 24 of the baseline, nested
    assert (found.test, found.num_items, found.num_runs) == ("McNemar, exact", 200, 1)
    assert found.p == pytest.approx(binomtest(4, 4).pvalue)
    assert found.difference == pytest.approx(0.02) and found.low <= 0.02 <= found.high


def test_several_seeds_are_averaged_by_item_and_tested_by_sign_flips(world):
    found = comparisons(world()).of("selectit", "gsm8k")
    assert (found.test, found.num_runs, found.num_baseline_runs) == ("sign flips by item, exact", 2, 2)
    assert found.p == pytest.approx(2 / 2**8)  # each run is 4 items better, at other items: 8 of half a point


def test_the_family_is_every_test_of_the_table_and_the_words_follow_from_it(world):
    found = comparisons(world())
    assert len(found.tested) == 3 * (2 + 1)
    for c in found.tested:
        word = ("better" if c.difference > 0 else "worse") if c.p_holm < 0.05 else "no difference shown"
        assert c.word == word and c.p_holm >= c.p
    assert {c.word for c in found.tested} == {"better", "worse", "no difference shown"}


def test_marks_sentences_and_files_tell_the_same_words(world):
    made = world()
    table = made.report().table
    base, selectit = line_of(table, "base"), line_of(table, "selectit")
    assert base.entries[1].marked == "5.0↓" and base.differences[1].marked == "−8.0↓"
    assert selectit.average.marked == "23.5 ± 1.4↑" and selectit.difference.marked == "+2.5↑"
    assert [entry.mark for entry in line_of(table, "random").entries] == ["", ""]
    assert "5.0↓" in terminal(table) and "| 5.0↓ |" in made.text("report.md")
    assert '<span class="unseen">, worse than the baseline</span>' in made.text("report.html")
    told = "base is worse than random on gsm8k: −8.0 points"
    assert told in made.text("report.html") and told in made.text("report.md")
    lines = list(csv.DictReader(made.text("comparisons.csv").splitlines()))
    [line] = [x for x in lines if (x["row"], x["benchmark"]) == ("base", "gsm8k")]
    assert (line["word"], line["num_items"], line["unit"]) == ("worse", "200", "item")
    assert any("correction over all 9 comparisons" in sentence for sentence in table.caption)


def test_rows_of_the_same_model_have_p_one(world):
    arms = {"base": {"finetune": {"method": "none"}}, "again": {"finetune": {"method": "none"}}}
    found = comparisons(world(arms=arms, baseline="base"))
    assert [c.p for c in found.tested] == [1.0] * 3 and [c.difference for c in found.tested] == [0.0] * 3


def test_items_are_joined_by_id_and_not_by_line(world):
    made = world(**ONE_SEED)
    before = comparisons(made).of("selectit", "gsm8k")
    for stage in made.stages("selectit", "evaluate", "gsm8k"):
        path = made.outcomes[stage].artifact.path / "items.jsonl"
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert comparisons(made).of("selectit", "gsm8k") == before


def test_unequal_item_sets_are_not_compared(world):
    made = world()
    half = {"value": 0.5}
    made.change("full", "gsm8k", **half)
    rewrite_items(made, "full", "gsm8k", lambda line: {**line, "item_id": line["item_id"] + 50})
    table, found = read_table(made.plan, made.outcomes)[1:]
    told = "its 200 items and the 200 of random are not the same (150 in both)"
    assert found.of("full", "gsm8k").reason == told and found.of("full", "gsm8k").word == "not compared"
    assert found.of("full", "average").reason == "gsm8k: not compared"
    assert found.of("full", "mmlu").p is not None and found.of("selectit", "gsm8k").p is not None
    assert any(told in sentence and "full on gsm8k" in sentence for sentence in table.caption)


def test_rows_run_with_other_settings_are_not_compared(world):
    made = world()
    for stage in made.stages("full", "evaluate", "mmlu"):
        made.outcomes[stage].artifact.manifest["identity"]["config"]["data"] = {"sha256": "other"}
    assert comparisons(made).of("full", "mmlu").reason == "not run with the settings or data of random"


def test_a_value_that_is_no_mean_over_its_items_is_not_compared(world):
    made = world()
    rewrite_items(made, "full", "mmlu", lambda line: {**line, "score": 1.0})
    assert {comparisons(made).of(row, "mmlu").reason for row in ("base", "full")} == {
        "the value is not a mean over its items"
    }


def test_items_without_a_score_or_without_a_record_are_told(world):
    made = world()
    rewrite_items(made, "full", "mmlu", lambda line: {**line, "score": None if line["item_id"] < 3 else line["score"]})
    rewrite_items(made, "selectit", "gsm8k", lambda line: None)
    found = comparisons(made)
    assert found.of("full", "mmlu").reason == "3 of its items have no score"
    assert found.of("selectit", "gsm8k").reason == "its items are not recorded"


def test_without_the_baseline_nothing_is_compared_and_the_caption_says_so(world):
    made = world()
    for stage in made.stages("random", "finetune"):
        made.fail(stage, "killed")
    table = made.report().table
    assert any(s.startswith("No row could be tested against the baseline: random: there is") for s in table.caption)
    assert "Tests against the baseline" not in made.text("report.html")


def test_one_run_each_is_told_as_a_limit(world):
    told = "rows with one run each say nothing of that"
    assert told in " ".join(world(**ONE_SEED).table().caption)
    assert told not in " ".join(world(arms={"full": {"select": {"strategy": "full"}}, "random": {
        "select": {"strategy": "random"}}}).table().caption)  # fmt: skip


def test_a_grid_point_is_tested_against_its_own_baseline(world):
    found = comparisons(world(grid={"select.ratio": [0.1, 0.2]}))
    assert {c.baseline for c in found.found if c.row == "selectit (ratio=0.2)"} == {"random (ratio=0.2)"}


def test_a_report_that_stands_keeps_its_words_without_testing_again(world, monkeypatch):
    made = world()
    first = made.report().table
    monkeypatch.setattr("selectit.report.compare.compare", None)
    again = made.report()
    assert not again.written and again.table == first


def test_the_spread_is_told_by_purpose_where_the_recipe_varies_two(world):
    made = world(seeds={"select": [7, 8], "train": [1, 2], "eval": [42]})
    for stage in made.stages("random", "evaluate", "mmlu"):
        cell = next(c for row in made.plan.rows for c in row.cells if c.stage == stage)
        made.outcomes[stage] = Outcome(made.artifact(stage, value=0.2 + 0.1 * (cell.select_seed == 8)))
    made.report()
    text = made.text("report.md")
    assert "| random | selection seed | 7.07 |" in text and "| random | training seed | 0.00 |" in text
    assert "Spread over seeds by purpose" in made.text("report.html")
