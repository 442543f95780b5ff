"""`selectit compare`: two evaluated models item by item, and what is refused."""

from __future__ import annotations

import json

import pytest
from finished_work import call
from scipy.stats import binomtest
from test_report import World

ONE_SEED = {"seeds": {"select": [7], "train": [1], "eval": [42]}}


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])
    return lambda **changes: World(tmp_path, demo, **changes)


def folder(made, arm: str, benchmark: str):
    return made.outcomes[made.stages(arm, "evaluate", benchmark)[0]].artifact.path


def found(*arguments: object) -> list[dict]:
    return json.loads(call("compare", *arguments, "--json"))["comparisons"]


def test_two_artifacts_are_compared_item_by_item(world):
    made = world(**ONE_SEED)
    made.change("selectit", "mmlu", value=0.4)
    [one] = found(folder(made, "selectit", "mmlu"), folder(made, "random", "mmlu"))
    assert (one["value"], one["other_value"], one["num_items"]) == (0.4, 0.28, 200)
    assert (one["num_higher"], one["num_lower"], one["test"]) == (24, 0, "McNemar, exact")
    assert one["p"] == one["p_holm"] == pytest.approx(binomtest(24, 24).pvalue) and one["result"] == "A higher"
    assert one["difference"] == pytest.approx(0.12) and one["low"] < 0.12 < one["high"]
    half = 1.972 * (0.12 * 0.88 / 199) ** 0.5  # t interval of a mean of 200 zeros and ones
    assert one["high"] - 0.12 == pytest.approx(half, rel=1e-3)
    text = call("compare", folder(made, "selectit", "mmlu"), folder(made, "random", "mmlu"), "--items", 2)
    assert "about these two models" in text and "A higher" in text and text.count("---- mmlu") == 2
    assert "what is number 56 of the long list" in text and "A, score 1: right" in text and "B, score 0: wrong" in text


def test_two_rows_of_a_report_are_compared_seed_by_seed_on_every_benchmark(world):
    made = world()
    made.report()
    report = made.runs / "small"
    lines = found(report, report, "--row", "selectit", "--against", "random")
    places = [(one["benchmark"], one["place"]) for one in lines]
    assert places == [
        ("mmlu", "selectit 7/1/42 and random 7/1/42"), ("mmlu", "selectit 7/2/42 and random 7/2/42"),
        ("gsm8k", "selectit 7/1/42 and random 7/1/42"), ("gsm8k", "selectit 7/2/42 and random 7/2/42"),
    ]  # fmt: skip
    assert [one["num_higher"] for one in lines] == [6, 6, 4, 4] and {one["result"] for one in lines} == {
        "not significant"
    }
    smallest = min(one["p"] for one in lines)
    assert min(one["p_holm"] for one in lines) == pytest.approx(min(1.0, 4 * smallest))


def test_a_model_without_seeds_is_compared_with_each_run_of_a_row(world):
    made = world()
    made.report()
    report = made.runs / "small"
    lines = found(report, report, "--row", "selectit", "--against", "base")
    assert [one["place"].split(" and ")[0] for one in lines] == ["selectit 7/1/42", "selectit 7/2/42"] * 2


def test_what_selectit_evaluate_wrote_is_a_side(world, tmp_path):
    made = world(**ONE_SEED)
    sides = []
    for name, arm in (("one", "selectit"), ("other", "random")):
        out = tmp_path / name
        (out / "artifacts").mkdir(parents=True)
        for benchmark in ("mmlu", "gsm8k"):
            path = folder(made, arm, benchmark)
            path.rename(out / "artifacts" / path.name)
        (out / "results.json").write_text("{}")
        sides.append(out)
    assert sorted(one["benchmark"] for one in found(*sides)) == ["gsm8k", "mmlu"]
    assert "has no rows" in call("compare", *sides, "--row", "selectit", rc=1)
    twice = sides[0] / "artifacts" / "evaluate-other"
    first = next((sides[0] / "artifacts").iterdir())
    twice.mkdir()
    for file in first.iterdir():
        (twice / file.name).write_bytes(file.read_bytes())
    assert "2 evaluations of" in call("compare", *sides, rc=1)


def test_other_settings_items_and_missing_numbers_are_named(world):
    made = world(**ONE_SEED)
    ours, theirs = folder(made, "selectit", "mmlu"), folder(made, "random", "mmlu")
    manifest = json.loads((theirs / "manifest.json").read_text())
    manifest["identity"]["config"]["limit"] = 50
    (theirs / "manifest.json").write_text(json.dumps(manifest))
    text = call("compare", ours, theirs, rc=1)
    assert "not asked with the same settings: limit null of A, 50 of B" in " ".join(text.split())
    lines = (folder(made, "full", "mmlu") / "items.jsonl").read_text().splitlines(keepends=True)
    (folder(made, "full", "mmlu") / "items.jsonl").write_text("".join(lines[:150]))
    text = call("compare", ours, folder(made, "full", "mmlu"), rc=1)
    assert "the items are not the same: 200 of A, 150 of B, 150 in both" in " ".join(text.split())
    made.change("base", "mmlu", status="not_scored", value=None, reason="no judge is set")
    text = call("compare", ours, folder(made, "base", "mmlu"), rc=1)
    assert "B has no number: no judge is set" in " ".join(text.split())
    assert "the same evaluation" in call("compare", ours, ours, rc=1)


def test_a_value_that_is_not_a_mean_over_items_has_counts_and_no_test(world):
    made = world(**ONE_SEED)
    path = folder(made, "selectit", "mmlu")
    record = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps({**record, "value": 0.9}))
    [one] = found(path, folder(made, "random", "mmlu"))
    assert (one["num_items"], one["num_higher"], one["p"], one["result"]) == (200, 6, None, "not tested")
    assert "not a mean over its items" in one["reason"]


def test_wrong_folders_and_rows_are_refused_with_what_is_allowed(world, tmp_path):
    made = world(**ONE_SEED)
    made.report()
    report = made.runs / "small"
    text = call("compare", report, report, "--row", "selectt", "--against", "random", rc=1)
    assert "has the rows base, full, random, selectit" in text and "Did you mean 'selectit'?" in text
    assert "does not exist; name an evaluate artifact" in call("compare", tmp_path / "none", report, rc=1)
    trained = made.outcomes[made.stages("random", "finetune")[0]].artifact.path
    assert "is not an evaluation (it is: finetune-lora)" in call("compare", trained, report, rc=1)
