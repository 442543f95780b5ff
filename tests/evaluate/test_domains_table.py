"""Benchmarks of the domains in a recipe's table, report and price, asked of a real model."""

import csv
import json

import pytest
import yaml
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config.evaluate import PROFILES
from selectit.evaluate.benchmarks.registry import benchmarks

PROFILE = {
    "description": "One benchmark of each domain, in small.",
    "benchmarks": {
        "medqa": {"metric": "acc"},
        "aime24": {"metric": "avg@2", "num_samples": 2, "temperature": 0.6, "chat_template": True, "max_gen_toks": 8},
        "bigcodebench": {"metric": "pass@1", "max_gen_toks": 8},
        "wmt22_en_de": {"metric": "bleu", "chat_template": True, "max_gen_toks": 8},
        "wmt22_en_de_comet": {"metric": "comet", "chat_template": True, "max_gen_toks": 8},
    },
}


@pytest.fixture
def recipe(tmp_path, demo_model):
    def write(name, *lines):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("\n".join(lines) + "\n")

    options = {letter: f"option {letter}" for letter in "ABCD"}
    question = {"question": "Which?", "options": options, "answer_idx": "B"}
    write("medqa/phrases_no_exclude_test.jsonl", *[json.dumps(question)] * 3)
    write("aime24/test.jsonl", json.dumps({"problem": "Add 1 and 1.", "answer": "2"}))
    task = {"task_id": "B/0", "complete_prompt": "def f():\n", "canonical_solution": "", "entry_point": "f", "test": ""}
    write("bigcodebench/BigCodeBench.jsonl", json.dumps(task))
    write("wmt22/test.en-de.en", "One.", "Two.")
    write("wmt22/test.en-de.de", "Eins.", "Zwei.")
    (tmp_path / "domains.yaml").write_text(yaml.safe_dump(PROFILE, sort_keys=False))
    raw = {
        "name": "domains", "pool": {"path": str(tmp_path / "pool.json")}, "model": {"path": demo_model.path},
        "evaluate": {"profile": str(tmp_path / "domains.yaml"), "data": str(tmp_path / "data"), "num_processes": 1},
        "arms": {"base": {"finetune": {"method": "none"}}, "other": {"finetune": {"method": "none"}}},
        "baseline": "base", "wandb": {"enabled": False},
    }  # fmt: skip
    (tmp_path / "pool.json").write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "recipe.yaml"


def selectit(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def test_a_table_of_the_domains_has_numbers_and_missing_results_with_reasons(recipe):
    runs = recipe.parent / "runs"
    selectit("run", recipe, "--runs-dir", runs)
    with (runs / "domains" / "results.csv").open(newline="") as f:
        rows = {row["benchmark"]: row for row in csv.DictReader(f) if row["row"] == "base"}
    assert list(rows) == list(PROFILE["benchmarks"])
    assert all(rows[name]["value"] for name in ("medqa", "aime24", "wmt22_en_de"))
    assert rows["bigcodebench"]["status"] == "not scored" and "exported, not graded" in rows["bigcodebench"]["reason"]
    assert rows["wmt22_en_de_comet"]["status"] == "not run" and "comet_python" in rows["wmt22_en_de_comet"]["reason"]
    report = (runs / "domains" / "report.md").read_text()
    assert "exported, not graded: samples.jsonl" in report
    assert "2 of its items have no score" in report  # BLEU is no mean over sentences, so it is not compared


def test_a_benchmark_of_unknown_size_has_an_unknown_price(recipe):
    text = selectit("plan", recipe, "--runs-dir", recipe.parent / "runs", "--price", "--tflops", 1)
    assert "unknown 2: how many items wmt22_en_de has" in text and "in total, 3 stages" in text


@pytest.mark.parametrize("benchmark", PROFILE["benchmarks"])
def test_what_is_asked_is_shown_without_weights(recipe, demo_model, benchmark):
    settings = ["--profile", recipe.parent / "domains.yaml", "--data", recipe.parent / "data"]
    text = selectit("evaluate", "--show", benchmark, "--model", demo_model.path, *settings)
    assert "end of the prompt" in text and ("right answer" in text or "reference translation" in text)
    if benchmark in ("medqa", "aime24"):
        assert f"{PROFILE['benchmarks'][benchmark]['metric']} 1" in text


def test_every_benchmark_is_in_a_profile_that_ships():
    from selectit.evaluate.profile import load_profile

    shipped = {name for profile in PROFILES for name in load_profile(profile).benchmarks}
    assert shipped == set(benchmarks())
