"""`selectit diff`: settings by their dotted key, numbers one by one, and what explains them."""

from __future__ import annotations

import json
import shutil

import pytest
from finished_work import Work, call

from selectit.store.fingerprint import later_fields
from selectit.store.first_fields import FIRST_FIELDS


@pytest.fixture
def pair(tmp_path, demo):
    """The same recipe twice, in two folders."""
    works = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        works.append(Work(tmp_path / name, demo))
    return works


def diff(a: Work, b: Work, rc: int = 0) -> str:
    return call("diff", a.runs / "small", b.runs / "small", rc=rc)


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_equal_results_differ_in_nothing(pair):
    text = diff(*(work.finish() for work in pair))
    assert "no setting in the fingerprint differs" in text and "0 of 10 numbers moved" in text
    assert "Circumstances" not in text


def test_the_setting_that_explains_a_number_comes_first_with_its_dotted_key(pair):
    a, b = pair
    a.finish()
    b.finish("finetune.learning_rate=1e-5", "arms.selectit.select.alpha=0.5", values={"selectit": 0.5, "random": 0.125})
    text = diff(a, b)
    keys = [line_with(text, key) for key in ("finetune.learning_rate", "select.alpha")]
    assert "0.0002" in keys[0] and "1e-05" in keys[0] and "4 of the numbers below" in keys[0]
    assert "0.2" in keys[1] and "0.5" in keys[1] and "4 of the numbers below" in keys[1]
    numbers = text.partition("\nNumbers")[2]
    assert "-0.125" in line_with(numbers, "random, mmlu") and "finetune.learning_rate" in line_with(
        numbers, "random, mmlu"
    )
    assert "+0.25" in line_with(numbers, "selectit, gsm8k") and "select.alpha" in line_with(numbers, "selectit, gsm8k")
    assert "8 of 10 numbers moved" in text


def test_a_setting_that_an_older_artifact_leaves_out_is_compared_at_its_default(pair, monkeypatch):
    fields = FIRST_FIELDS["SelectITSelect"] - {"alpha"}
    monkeypatch.setitem(FIRST_FIELDS, "SelectITSelect", fields)  # as if alpha had been added after the work was done
    later_fields.cache_clear()
    a, b = pair
    a.finish()
    b.finish("arms.selectit.select.alpha=0.5", "finetune.save_steps=7")
    assert "alpha" not in json.loads((a.path("select") / "manifest.json").read_text())["identity"]["config"]["select"]
    line = line_with(text := diff(a, b), "select.alpha")
    later_fields.cache_clear()
    assert "0.2" in line and "0.5" in line
    assert "select.alpha" not in text.partition("Settings of execution only")[2]


def test_changed_data_is_reported_by_its_content_and_not_by_its_path(pair):
    a, b = pair
    pool = b.recipe.parent / "pool.jsonl"
    pool.write_text(pool.read_text().replace("a 3", "a 33"))
    text = diff(a.finish(), b.finish(values={"random": 0.5}))
    assert "sha256" in line_with(text, "pool.path") and "4 of the numbers below" in line_with(text, "pool.path")
    assert "model.path" not in text


def test_execution_settings_stand_apart_and_explain_nothing(pair):
    a, b = pair
    text = diff(a.finish(), b.finish("finetune.save_steps=7", "evaluate.batch_size=3"))
    assert "no setting in the fingerprint differs" in text
    assert "finetune.save_steps" in text.partition("Settings of execution only")[2]
    assert "evaluate.batch_size" in text and "0 of 10 numbers moved" in text


def test_versions_and_device_explain_what_no_setting_does(pair):
    a, b = pair
    libraries = {"torch": "2.14.0", "trl": "1.16.0"}
    text = diff(a.finish(), b.finish(values={"base": 0.5}, device="H100", libraries=libraries))
    assert "cpu, 2 threads" in line_with(text, "device ") and "H100" in line_with(text, "device ")
    assert "circumstances: device, libraries.torch" in line_with(text.partition("\nNumbers")[2], "base, mmlu")
    assert "trl" not in text


def test_a_number_that_nothing_explains_is_said_to_be_so(pair):
    a, b = pair
    text = diff(a.finish(), b.finish(values={"base": 0.5}))
    assert "nothing that was recorded" in line_with(text.partition("\nNumbers")[2], "base, mmlu")


def test_two_recipes_are_compared_before_anything_has_run(pair):
    a, b = pair
    b.write(
        {**b.raw, "finetune": {"method": "full"}, "arms": {**b.raw["arms"], "new": {"select": {"strategy": "full"}}}}
    )
    text = call("diff", a.recipe, b.recipe, "--runs-dir", a.runs)
    assert "lora" in line_with(text, "finetune.method") and "full" in line_with(text, "finetune.method")
    assert "no number is on both sides" in text and "Only in B: new" in text


def test_a_recipe_is_compared_with_a_table_made_of_it_before(pair):
    a, _ = pair
    a.finish()
    a.write({**a.raw, "finetune": {"learning_rate": 3e-5}})
    text = call("diff", a.runs / "small", a.recipe, "--runs-dir", a.runs)
    assert "3e-05" in line_with(text, "finetune.learning_rate") and "model.path" not in text


def test_two_artifacts_are_compared_with_all_that_was_before_them(pair):
    a, b = pair
    a.finish()
    b.finish("arms.random.select.ratio=0.5")
    text = call("diff", a.path("finetune-lora"), b.path("finetune-lora"))
    assert "0.2" in line_with(text, "select.ratio") and "0.5" in line_with(text, "select.ratio")
    assert "no row and benchmark in common" in call("diff", a.path("score"), b.path("finetune-lora"), rc=1)


def test_a_deleted_artifact_leaves_its_settings_unknown(pair):
    a, b = pair
    a.finish(), b.finish()
    shutil.rmtree(a.path("score"))
    assert "is not there, so its settings are not known" in diff(a, b)


def test_another_version_of_a_stage_counts_as_a_setting(pair):
    a, b = pair
    a.finish(), b.finish()
    path = b.path("select") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["identity"]["version"] = 99
    path.write_text(json.dumps(manifest))
    assert "99" in line_with(diff(a, b), "version of the select stage")
