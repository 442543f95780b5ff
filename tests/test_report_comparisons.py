"""Which rows the report tests against the baseline, what it says of them, and when it refuses to."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest, t, ttest_rel
from test_report import PROMPT, World, line_of, terminal

from selectit.plan.outcome import Outcome
from selectit.report.tables.comparisons import Comparison, Comparisons
from selectit.report.tables.significance import significance
from selectit.report.write import read_table

ONE_SEED = {"seeds": {"select": [7], "train": [1], "eval": [42]}}
THREE = {"seeds": {"select": [7], "train": [1, 2, 3], "eval": [42]}}
ARMS = {"full": "full", "random": "random", "selectit": "selectit"}


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])  # test_report.py has the plots
    return lambda **changes: World(tmp_path, demo, **changes)


def caption_of(made) -> tuple[str, ...]:
    return read_table(made.plan, made.outcomes)[1].caption


def comparisons(made):
    return read_table(made.plan, made.outcomes)[2]


def rewrite_items(made, arm: str, benchmark: str, change) -> None:
    """Change the item lines of every evaluation of an arm on a benchmark."""
    for stage in made.stages(arm, "evaluate", benchmark):
        path = made.outcomes[stage].artifact.path / "items.jsonl"
        lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not None))


def set_scores(made, arm: str, benchmark: str, scores_of_seed) -> None:
    """Give each run of an arm its own item scores. Args: scores_of_seed: training seed -> [num_items]."""
    for stage in made.stages(arm, "evaluate", benchmark):
        seeds = {cell.train_seed for row in made.plan.rows for cell in row.cells if cell.stage == stage}
        scores = np.asarray(scores_of_seed[min(seeds)], dtype=float)
        artifact = made.artifact(stage, value=float(scores.mean()), num_items=len(scores))
        lines = [
            {"task": benchmark, "item_id": i, "prompt": f"{PROMPT.format(i)}", "score": score}
            for i, score in enumerate(scores.tolist())
        ]
        (artifact.path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        made.outcomes[stage] = Outcome(artifact)


def tables(made, num_items=200, **shifts) -> dict[str, dict[int, np.ndarray]]:
    """Item scores of three seeds of each trained arm on mmlu, drawn with the arm's own share of right answers."""
    draw = np.random.default_rng(5)
    difficulty = draw.normal(0, 0.15, num_items)
    found = {
        arm: {
            seed: (draw.random(num_items) < 0.4 + shift + difficulty).astype(float) for seed in THREE["seeds"]["train"]
        }
        for arm, shift in shifts.items()
    }
    for arm, scores in found.items():
        set_scores(made, arm, "mmlu", scores)
    return found


def test_one_training_seed_is_about_the_models_and_not_about_the_method(world):
    made = world(**ONE_SEED)
    found = comparisons(made).of("selectit", "gsm8k")  # 28 items against 24 of the baseline, nested
    assert (found.word, found.reason, found.p) == ("too few seeds", "one training seed", None)
    assert (found.items_test, found.num_items, found.num_runs) == ("McNemar, exact", 200, 1)
    assert found.items_p == pytest.approx(binomtest(4, 4).pvalue)
    assert found.difference == pytest.approx(0.02) and found.items_low <= 0.02 <= found.items_high
    made.change("selectit", "gsm8k", value=0.6)
    made.report()
    text = made.text("report.md")
    assert "The trained model of selectit scores higher than that of random on gsm8k" in text
    assert "selectit is better" not in text and "↑" not in text


def test_a_row_whose_seeds_disagree_is_not_better(world):
    """100, 37.5 and 37.5 of eight items against 37.5 in every seed, which a test over items calls better."""
    made = world(**THREE)
    low = [1.0] * 3 + [0.0] * 5
    set_scores(made, "selectit", "mmlu", {1: [1.0] * 8, 2: low, 3: low})
    set_scores(made, "random", "mmlu", {1: low, 2: low, 3: low})
    found = comparisons(made).of("selectit", "mmlu")
    reference = ttest_rel([1.0, 0.375, 0.375], [0.375] * 3)
    assert found.word == "not significant" and found.p >= reference.pvalue > 0.4


def test_several_seeds_are_a_paired_test_that_also_holds_the_items(world):
    made = world(**THREE)
    scores = tables(made, random=0.0, selectit=0.3)
    found = comparisons(made).of("selectit", "mmlu")
    ours, theirs = (np.array([scores[arm][seed] for seed in (1, 2, 3)]) for arm in ("selectit", "random"))
    by_seed = (ours - theirs).mean(axis=1)
    items = (ours - theirs).mean(axis=0)
    over_items = items.var(ddof=1) / 200
    noise = (ours - theirs).var(axis=0, ddof=1).mean() / 3 / 200  # of an item's answer from run to run
    of_seeds = by_seed.var(ddof=1) / 3
    of_items = max(of_seeds, noise) + max(0.0, over_items - noise) - of_seeds
    critical = (of_seeds * t.isf(0.025, 2) + of_items * t.isf(0.025, 199)) / (of_seeds + of_items)
    assert found.error == pytest.approx((of_seeds + of_items) ** 0.5, rel=0.01)
    assert found.high - found.difference == pytest.approx(critical * (of_seeds + of_items) ** 0.5, rel=0.02)
    assert found.difference == pytest.approx(by_seed.mean()) and found.num_seeds == 3
    assert found.test == "paired t test over training seeds and items"


def test_a_benchmark_without_a_right_answer_has_an_error_all_the_same(world):
    made = world(**THREE)
    set_scores(made, "random", "mmlu", dict.fromkeys((1, 2, 3), [0.0] * 12))
    found = comparisons(made).error_of("random", "mmlu")
    share = 2 / 16  # Agresti and Coull: two right and two wrong answers more
    assert found.error == pytest.approx((share * (1 - share) / 12) ** 0.5)
    assert line_of(made.table(), "random").entries[0].text == "0.0 ± 9.5 (3)"


def test_the_family_is_every_distinct_test_of_methods_and_the_words_follow_from_it(world):
    made = world(**THREE)
    tables(made, full=0.02, random=0.0, selectit=0.45)
    found = comparisons(made)
    assert found.num_corrected == len([c for c in found.found if c.p is not None])
    for c in found.tested:
        word = ("better" if c.difference > 0 else "worse") if c.p_holm < 0.05 else c.word
        assert c.word == word and c.p_holm >= c.p
    assert found.of("selectit", "mmlu").word == "better" and found.of("full", "mmlu").word == "not significant"


def test_marks_sentences_and_files_say_the_same_words(world):
    made = world(**THREE)
    tables(made, full=0.0, random=0.0, selectit=0.45)
    table = made.report().table
    base, selectit = line_of(table, "base"), line_of(table, "selectit")
    assert selectit.entries[0].marked.endswith("(3)↑") and selectit.differences[0].mark == "↑"
    assert base.entries[0].marked == "25.0 ± 3.1"  # nothing is trained, so there is no number of seeds
    assert [entry.mark for entry in line_of(table, "random").entries] == ["", ""]
    assert "(3)" in terminal(table) and f"| {selectit.entries[0].marked} |" in made.text("report.md")
    assert '<span class="unseen">, better than the baseline</span>' in made.text("report.html")
    reported = "selectit is better than random on mmlu over 3 training seeds: +"
    assert reported in made.text("report.html") and reported in made.text("report.md")
    lines = list(csv.DictReader(made.text("comparisons.csv").splitlines()))
    [line] = [x for x in lines if (x["row"], x["benchmark"]) == ("selectit", "mmlu")]
    assert (line["word"], line["num_items"], line["num_seeds"]) == ("better", "200", "3")
    assert any("smallest difference on the average" in sentence for sentence in table.caption)


def test_the_primary_comparison_is_tested_alone(world):
    primary = {"row": "selectit", "against": "random", "on": "mmlu"}
    made = world(**THREE, primary=primary)
    tables(made, full=0.02, random=0.0, selectit=0.3)
    found = comparisons(made)
    first = found.of("selectit", "mmlu")
    assert first.primary and first.p_holm == first.p
    assert found.num_corrected == len(found.tested) - 1 and sum(c.primary for c in found.found) == 1
    made.report()
    assert "Primary comparison: selectit is better than random on mmlu" in made.text("report.md")
    assert "| selectit \\* | random | mmlu | better |" in made.text("report.md")


def test_every_row_is_compared_with_each_baseline_and_two_baselines_once(world):
    arms = {name: {"select": {"strategy": strategy}} for name, strategy in ARMS.items()}
    made = world(**THREE, arms=arms, baselines=["random", "full"], baseline=None)
    found = comparisons(made)
    pairs = [(c.row, c.baseline) for c in found.found if c.benchmark == "mmlu"]
    assert sorted(pairs) == [("full", "random"), ("selectit", "full"), ("selectit", "random")]
    table = made.table()
    assert [line.is_baseline for line in table.lines] == [True, True, False]
    assert line_of(table, "selectit").difference.mean == pytest.approx(
        line_of(table, "selectit").average.mean - line_of(table, "random").average.mean
    )


def test_rows_of_equal_subsets_are_one_comparison(world):
    """Their trainings are the same artifacts; correcting for both would punish a recipe for naming a row twice."""
    made = world(**THREE, arms={
        "random": {"select": {"strategy": "random"}}, "selectit": {"select": {"strategy": "selectit"}},
        "twin": {"select": {"strategy": "selectit"}},
    })  # fmt: skip
    found = comparisons(made)
    assert found.of("twin", "mmlu").p_holm == found.of("selectit", "mmlu").p_holm
    assert found.num_corrected == 3 and len(found.tested) == 6


def test_rows_of_the_same_model_are_not_compared(world):
    arms = {"base": {"finetune": {"method": "none"}}, "again": {"finetune": {"method": "none"}}}
    found = comparisons(world(arms=arms, baseline="base"))
    assert {c.reason for c in found.found if c.benchmark != "average"} == {"the same model as base"}


def test_two_models_without_training_are_compared_over_items(world):
    arms = {"base": {"finetune": {"method": "none"}}, "other": {"finetune": {"method": "none"}, "model": {
        "path": "other/model"}}}  # fmt: skip
    made = world(arms=arms, baseline="base", evaluate={"profile": "paper-2023", "benchmarks": ["gsm8k"]})
    made.change("other", "gsm8k", value=0.5)
    found = comparisons(made).of("other", "gsm8k")
    assert (found.word, found.test, found.num_seeds) == ("better", "McNemar, exact", None)
    assert found.p == found.items_p == pytest.approx(binomtest(90, 90).pvalue)


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
    reported = "its 200 items and the 200 of random are not the same (150 in both)"
    assert found.of("full", "gsm8k").reason == reported and found.of("full", "gsm8k").word == "not compared"
    assert found.of("full", "average").reason == "gsm8k: not compared"
    assert found.of("full", "mmlu").items_p is not None and found.of("selectit", "gsm8k").items_p is not None
    assert any(reported in sentence and "full on gsm8k" in sentence for sentence in table.caption)


def test_rows_run_with_other_settings_are_not_compared(world):
    made = world()
    for stage in made.stages("full", "evaluate", "mmlu"):
        made.outcomes[stage].artifact.manifest["identity"]["config"]["data"] = {"sha256": "other"}
    assert comparisons(made).of("full", "mmlu").reason == "not run with the settings or data of random"


def test_a_value_that_is_not_a_mean_over_its_items_is_not_compared(world):
    made = world()
    rewrite_items(made, "full", "mmlu", lambda line: {**line, "score": 1.0})
    assert {comparisons(made).of(row, "mmlu").reason for row in ("base", "full")} == {
        "the value is not a mean over its items"
    }


def without_score(number: int):
    return lambda line: {**line, "score": None if line["item_id"] < number else line["score"]}


def test_a_few_items_without_a_score_are_left_out_of_every_row(world):
    made = world()
    rewrite_items(made, "full", "mmlu", without_score(3))
    found = comparisons(made)
    assert {found.of(row, "mmlu").num_items for row in ("base", "full", "selectit")} == {197}
    assert found.of("full", "mmlu").reason == "" and found.of("selectit", "gsm8k").num_items == 200


def test_many_items_without_a_score_or_no_record_of_them_are_named(world):
    made = world()
    rewrite_items(made, "full", "mmlu", without_score(11))
    rewrite_items(made, "selectit", "gsm8k", lambda line: None)
    found = comparisons(made)
    assert found.of("full", "mmlu").reason == "11 of its items have no score"
    assert found.of("selectit", "gsm8k").reason == "its items are not recorded"


def test_without_the_baseline_nothing_is_compared_and_the_caption_states_it(world):
    made = world()
    for stage in made.stages("random", "finetune"):
        made.fail(stage, "killed")
    table = made.report().table
    assert any(s.startswith("No row could be compared with a baseline: random: there is") for s in table.caption)
    assert "Comparisons with the baselines" not in made.text("report.html")


def test_a_grid_point_is_tested_against_its_own_baseline(world):
    found = comparisons(world(grid={"select.ratio": [0.1, 0.2]}))
    assert {c.baseline for c in found.found if c.row == "selectit (ratio=0.2)"} == {"random (ratio=0.2)"}


def test_a_report_that_stands_keeps_its_words_without_testing_again(world, monkeypatch):
    made = world()
    first = made.report().table
    monkeypatch.setattr("selectit.report.tables.compare.compare", None)
    again = made.report()
    assert not again.written and again.table == first


def test_the_spread_is_split_by_purpose_where_the_recipe_varies_two(world):
    made = world(seeds={"select": [7, 8], "train": [1, 2], "eval": [42]})
    for stage in made.stages("random", "evaluate", "mmlu"):
        cell = next(c for row in made.plan.rows for c in row.cells if c.stage == stage)
        made.outcomes[stage] = Outcome(made.artifact(stage, value=0.2 + 0.1 * (cell.select_seed == 8)))
    made.report()
    text = made.text("report.md")
    assert "| random | selection seed | 7.07 |" in text and "| random | training seed | 0.00 |" in text
    assert "| random | rest | 0.00 |" in text and "Spread over seeds by purpose" in made.text("report.html")


def test_two_baselines_without_a_grid_are_not_said_to_be_points_of_one(world):
    made = world(baseline=None, baselines=["random", "full"])
    [reported] = [sentence for sentence in caption_of(made) if sentence.startswith("difference: ")]
    assert "(arm random), in points." in reported and "grid" not in reported


def test_a_row_with_one_draw_of_its_subset_is_named(world):
    once = [s for s in caption_of(world(seeds={"select": [1], "train": [1, 2], "eval": [42]})) if "One draw" in s]
    assert len(once) == 1 and "random" in once[0] and "selectit" not in once[0] and "full" not in once[0]
    assert not [s for s in caption_of(world(seeds={"select": [1, 2], "train": [1], "eval": [42]})) if "One draw" in s]


@pytest.mark.parametrize(
    ("sizes", "reported"),
    [
        ((0.05, 0.05), "could have shown (80% power): 5.0 points"),
        ((0.05, 1.7), "could have shown (80% power): 5.0 to over 100 points"),
        ((1.2, 1.7), "No difference on the average, however large, would have been shown with 80% power"),
    ],
)
def test_a_difference_that_no_table_could_show_is_not_a_number(sizes, reported):
    found = [
        Comparison(f"row {at}", "base", "average", difference=0.0, error=0.1, p=1.0, p_holm=1.0, items_p=1.0,
                   word="not significant", detectable=size)
        for at, size in enumerate(sizes)
    ]  # fmt: skip
    assert any(reported in sentence for sentence in significance(Comparisons(tuple(found), (), len(found))))
