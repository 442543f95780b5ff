"""What Python programs call: the page's examples run, nothing is printed or left, and results are the commands'."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from typer.testing import CliRunner

import selectit
from selectit.cli.app import app

HEAVY = ("torch", "transformers", "datasets", "trl", "peft", "lm_eval", "wandb", "numpy", "pydantic", "pyarrow")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_the_examples_of_the_page_run(root, monkeypatch):
    monkeypatch.chdir(root)
    flags = doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(root / "docs" / "python.md"), module_relative=False, optionflags=flags)
    assert failed == 0 and tried > 10


def test_importing_the_package_imports_nothing_heavy(root):
    code = (
        "import sys, selectit; assert 'select' in dir(selectit) and not hasattr(selectit, 'selct');"
        f"print([name for name in {HEAVY} if name in sys.modules]); from selectit import UserError;"
        "print('pydantic' in sys.modules, issubclass(UserError, ValueError))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert answer.stdout.split("\n")[:2] == ["[]", "False True"]


def test_two_calls_in_a_program_print_and_leave_nothing(root, demo, tmp_path):
    """In a process of its own, whose every byte of output is seen, with transformers imported before."""
    code = (
        "import json, transformers, selectit\n"
        f"rows = json.load(open({str(demo / 'pool.json')!r}))[:12]\n"
        f"settings = {{'model': {str(demo / 'model')!r}, 'ratio': 0.25, 'num_rating_prompts': 2}}\n"
        "found = [selectit.select(rows, **settings) for _ in 'ab']\n"
        "assert found[0] == found[1] and len(found[0].rows) == 3\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(work), "PYTHONWARNINGS": "ignore"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=work, env=environment)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert [*work.iterdir()] == []


def test_a_subset_is_that_of_the_command(small_pool, demo, tmp_path):
    words = ["select", small_pool, "--model", demo / "model", "--ratio", "0.2", "--set", "num_rating_prompts=2"]
    words += ["--out", tmp_path / "best.json", "--scores", tmp_path / "scores.jsonl", "--runs-dir", tmp_path / "runs"]
    assert CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).exit_code == 0
    wanted = json.loads((tmp_path / "best.json").read_text())
    table = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    rows = json.loads(small_pool.read_text())
    for given in (rows, Dataset.from_list(rows), small_pool, str(small_pool)):
        found = selectit.select(given, model=demo / "model", ratio=0.2, num_rating_prompts=2)
        assert found.rows == wanted and found.record["num_selected"] == len(wanted) == 8
        selected = [line for line in table if line["selected"]]
        assert found.scores == pytest.approx([line["score"] for line in selected], abs=1e-12)
        if given is small_pool:
            assert found.ids == [line["row_id"] for line in selected]
    assert all(any(row is own for own in rows) for row in selectit.select(rows, "random", ratio=0.2).rows)
    scored = selectit.score(rows, demo / "model", num_rating_prompts=2)
    assert scored.scores == pytest.approx([line["score"] for line in table], abs=1e-12)
    assert scored.token_scores == [line["models"][0]["token_scores"] for line in table]


def test_what_is_kept_is_not_computed_again_at_another_ratio(small_pool, demo, tmp_path, monkeypatch):
    first = selectit.select(small_pool, model=demo / "model", ratio=0.5, num_rating_prompts=1, runs_dir=tmp_path / "r")
    monkeypatch.setattr("selectit.scoring.stage.run", lambda *a, **k: pytest.fail("rated again"))
    rows = json.loads(small_pool.read_text())
    second = selectit.select(
        small_pool, model=demo / "model", ratio=0.25, num_rating_prompts=1, runs_dir=tmp_path / "r"
    )
    assert [row for row in rows if row in second.rows and row in first.rows] == second.rows


def test_rows_keep_their_own_ids_and_what_json_has_not(tmp_path, temporary):
    import datetime

    rows = [
        {"id": f"r{n}", "instruction": "Say it.", "output": "ab " * n, "when": datetime.date(2026, 1, n), "t": (n,)}
        for n in (3, 1, 2)
    ]
    rows.append({**rows[0], "id": "r4", "output": ""})
    found = selectit.select(iter(rows), "length", unit="words", ratio=0.5, pool={"bad_rows": "exclude"})
    assert found.ids == ["r3", "r2"] and found.scores == [3.0, 2.0]
    assert found.rows[0] is rows[0] and found.rows[1] is rows[2]
    assert [line["failure"] for line in found.all_scores] == [None, None, None, "empty_response"]
    assert selectit.select(rows[:3], "random", ratio=0.4).scores != [] and [*temporary.iterdir()] == []


def test_a_half_of_a_character_in_a_list_is_a_bad_row():
    rows = [{"instruction": "Q", "output": "x\ud83d"}, {"instruction": "Q", "output": "A"}]
    with pytest.raises(selectit.UserError, match="1 lone_surrogate"):
        selectit.select(rows, "full")
    assert selectit.select(rows, "full", pool={"bad_rows": "exclude"}).rows == [rows[1]]


FAULTS = {
    "needs a model": {"strategy": "selectit"},
    "unknown key. Did you mean 'unit'": {"strategy": "length", "unitt": "words"},
    "alpha is given twice": {"strategy": {"strategy": "selectit", "alpha": 1}, "alpha": 2},
    "ratio is given twice": {"strategy": {"strategy": "length", "ratio": 0.1}, "ratio": 0.2},
    "path is what the first argument names": {"strategy": "random", "pool": {"path": "x"}},
    "pool.limmit": {"strategy": "random", "pool": {"limmit": 3}},
    "is no row; raise it": {"strategy": "random", "ratio": 0.001},
}


@pytest.mark.parametrize("text", FAULTS)
def test_faults_are_ordinary_errors_with_their_cure_and_leave_nothing(text, temporary, capfd):
    rows = [{"instruction": "Q", "output": "A"}] * 5
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        selectit.select(rows, **FAULTS[text])
    assert [*temporary.iterdir()] == [] and capfd.readouterr() == ("", "")


def test_rows_of_another_kind_are_refused():
    for rows in (DatasetDict({"train": Dataset.from_list([{"instruction": "Q", "output": "A"}])}), {"a": 1}, 3):
        with pytest.raises(selectit.UserError, match=f"rows are {type(rows).__name__}; give a path"):
            selectit.select(rows, "random")
    with pytest.raises(selectit.UserError, match="has no rows"):
        selectit.select([], "random")


def test_the_error_of_a_stage_is_raised_as_it_is(small_pool, tmp_path, temporary, capfd):
    class Broken(Exception):
        pass

    def broken(*arguments, **named):
        raise Broken("a fault of a library")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Broken, match="a fault of a library"):
        patch.setattr("selectit.selection.stage.run", broken)
        selectit.select(small_pool, "random", ratio=0.5)
    assert [*temporary.iterdir()] == [] and capfd.readouterr() == ("", "")


def test_progress_is_printed_where_it_is_asked_for(small_pool, capfd):
    selectit.select(small_pool, "random", ratio=0.5, progress=True)
    assert "num_selected 20" in capfd.readouterr().out


RECIPE = """
name: one
demonstration: true
pool: {{path: {pool}}}
model: {{path: {demo}/model}}
evaluate: {{profile: miniature, data: {demo}/benchmarks, benchmarks: [gsm8k], limit: 2}}
arms:
  base: {{finetune: {{method: none}}}}
baselines: [base]
"""


def test_a_recipe_gives_its_table_and_runs_once(small_pool, demo, tmp_path, capfd):
    recipe = tmp_path / "one.yaml"
    recipe.write_text(RECIPE.format(pool=small_pool, demo=demo))
    found = selectit.run_recipe(recipe, {"evaluate.limit": 3}, runs_dir=tmp_path / "runs")
    assert found.num_executed == 1 and found.report.is_file() and [row["row"] for row in found.rows] == ["base"]
    assert found.rows[0]["cells"]["gsm8k"]["mean"] is not None
    again = selectit.run_recipe(str(recipe), ["evaluate.limit=3"], runs_dir=tmp_path / "runs")
    assert again.num_executed == 0 and again.rows == found.rows
    assert capfd.readouterr().out == ""
    one = selectit.evaluate_model(demo / "model", ["gsm8k"], profile="miniature", data=demo / "benchmarks", limit=3)
    value = one.results["gsm8k"]["exact_match,flexible-extract"]["value"]
    assert 100 * value == pytest.approx(found.rows[0]["cells"]["gsm8k"]["mean"]) and one.not_scored == {}


def test_a_stage_of_a_recipe_that_fails_is_an_error_once_the_report_is_written(small_pool, demo, tmp_path, monkeypatch):
    recipe = tmp_path / "one.yaml"
    recipe.write_text(RECIPE.format(pool=small_pool, demo=demo))

    def broken(*arguments, **named):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("selectit.evaluate.stage.run", broken)
    with pytest.raises(selectit.UserError, match=r"1 of 1 stages failed: RuntimeError: out of luck.*report\.html"):
        selectit.run_recipe(recipe, runs_dir=tmp_path / "runs")
    assert (tmp_path / "runs" / "one" / "report.html").is_file()
