"""The command line as a user meets it: real processes, real files, their output and exit code."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selectit.data.fetch import SOURCES, Source, fetch
from selectit.errors import UserError


def selectit(*arguments: object, cwd: Path | None = None, rc: int = 0) -> str:
    """stdout and stderr of one command, which must end with `rc`."""
    command = [sys.executable, "-m", "selectit", *map(str, arguments)]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "160"}, timeout=300
    )
    assert answer.returncode == rc, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


def test_help_names_every_command_and_is_quick():
    started = time.monotonic()
    text = selectit("--help")
    assert time.monotonic() - started < 10  # loose on purpose: nothing heavy may be imported
    for command in (
        "run",
        "plan",
        "validate",
        "score",
        "select",
        "finetune",
        "evaluate",
        "report",
        "doctor",
        "data",
        "verify",
    ):
        assert f" {command} " in text


def test_the_quickstart_recipe_is_valid_and_its_plan_is_shown(root, tmp_path):
    recipe = root / "recipes" / "quickstart.yaml"
    assert "5 rows" in selectit("validate", recipe)
    text = selectit("plan", recipe, "--runs-dir", tmp_path / "runs")
    assert "finetune length" in text and "after select length" in text and "never run" in text
    assert not (tmp_path / "runs" / "artifacts").exists()


def test_a_wrong_recipe_prints_faults_without_a_traceback(root, tmp_path):
    text = selectit("validate", root / "recipes" / "quickstart.yaml", "--set", "finetune.learning_rte=1", rc=1)
    assert "Did you mean 'learning_rate'?" in text and "Traceback" not in text


def test_select_by_length_needs_no_model_and_keeps_the_pools_format(small_pool, tmp_path):
    out, scores = tmp_path / "subset.json", tmp_path / "scores.jsonl"
    text = selectit(
        "select", small_pool, "--strategy", "length", "--set", "unit=chars", "--ratio", 0.25, "--out", out,
        "--scores", scores, "--runs-dir", tmp_path / "runs",
    )  # fmt: skip
    assert "10 of 40 rows" in text
    raw, lines = json.loads(small_pool.read_text()), [json.loads(line) for line in scores.read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(40))
    assert json.loads(out.read_text()) == [raw[line["row"]] for line in lines if line["selected"]]


def test_select_with_two_models_writes_scores_of_each_model_and_prompt(small_pool, demo, tmp_path):
    raw = json.loads(small_pool.read_text())[:6]
    small_pool.write_text(json.dumps(raw))
    scores = tmp_path / "scores.jsonl"
    selectit(
        "select", small_pool, "--model", demo / "model", "--model", demo / "model", "--ratio", 0.5,
        "--set", "level=model", "--set", "num_rating_prompts=2", "--out", tmp_path / "subset.json", "--scores", scores,
        "--runs-dir", tmp_path / "runs",
    )  # fmt: skip
    lines = [json.loads(line) for line in scores.read_text().splitlines()]
    assert len(lines) == 6
    for line in lines:
        first, second = line["models"]
        assert first["token_scores"] == second["token_scores"] and len(first["token_scores"]) == 2
        assert line["score"] == pytest.approx((first["score"] + second["score"]) / 2)
    assert len(list((tmp_path / "runs" / "artifacts").glob("score-*"))) == 1  # the same model is not asked twice


def test_random_rest_alone_leaves_out_what_selectit_takes(small_pool, demo, tmp_path):
    arguments = ["--model", demo / "model", "--ratio", 0.5, "--runs-dir", tmp_path / "runs"]
    own = {"selectit": "num_rating_prompts=1", "random_rest": "rest_of={num_rating_prompts: 1}"}
    small_pool.write_text(json.dumps(json.loads(small_pool.read_text())[:8]))
    for strategy, field in own.items():
        out = tmp_path / f"{strategy}.json"
        selectit("select", small_pool, "--strategy", strategy, "--set", field, "--out", out, *arguments)
    taken, rest = (json.loads((tmp_path / f"{s}.json").read_text()) for s in ("selectit", "random_rest"))
    assert len(taken) == len(rest) == 4 and not [row for row in rest if row in taken]


BAD_COMMANDS = {
    "ratio of zero": (["--ratio", "0"], "select.ratio: found 0"),
    "ratio above one": (["--ratio", "1.2"], "select.ratio: found 1.2"),
    "unknown strategy": (["--strategy", "lenght"], "Did you mean 'length'?"),
    "no model": (["--strategy", "selectit"], "needs --model"),
    "missing prompts": (["--model", "{model}", "--rating-prompts", "none.txt"], "none.txt does not exist"),
    "no tokenizer": (["--model", "{bare}"], "has no tokenizer"),
    "other suffix": (["--out", "{tmp}/subset.csv"], "ends in .json"),
    "unwritable folder": (["--out", "/proc/none/subset.json"], "cannot be written"),
    "wrong level": (["--model", "{model}", "--set", "level=word"], "select.level: found 'word'"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_wrong_command_states_what_is_allowed_before_anything_runs(small_pool, demo, tmp_path, name):
    extra, wanted = BAD_COMMANDS[name]
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in ("config.json", "model.safetensors"):
        (bare / file).write_bytes((demo / "model" / file).read_bytes())
    filled = [text.format(model=demo / "model", bare=bare, tmp=tmp_path) for text in extra]
    out = [] if "--out" in filled else ["--out", tmp_path / "subset.json"]
    strategy = [] if {"--strategy", "--model"} & set(filled) else ["--strategy", "random"]
    text = selectit("select", small_pool, *strategy, *filled, *out, "--runs-dir", tmp_path / "runs", rc=1)
    assert wanted in text and "Traceback" not in text
    assert not (tmp_path / "runs").exists()


def test_a_pool_with_an_empty_response_is_refused_before_the_model_is_loaded(small_pool, demo, tmp_path):
    raw = json.loads(small_pool.read_text())
    raw[5]["output"] = ""
    small_pool.write_text(json.dumps(raw))
    common = [
        "select",
        small_pool,
        "--strategy",
        "random",
        "--out",
        tmp_path / "s.json",
        "--runs-dir",
        tmp_path / "runs",
    ]
    text = selectit(*common, rc=1)
    assert "row 5" in text and "bad_rows" in text
    assert "8 of 40 rows" in selectit(*common, "--bad-rows", "exclude")


def test_training_nothing_is_refused_before_anything_runs(small_pool, demo, tmp_path):
    text = selectit(
        "finetune", small_pool, "--model", demo / "model", "--method", "none", "--out", tmp_path / "a", rc=1
    )
    assert "allowed here are lora, qlora and full" in text and "Traceback" not in text and not (tmp_path / "a").exists()


def test_doctor_reports_versions_and_never_the_value_of_a_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "very-secret-value")
    text = selectit("doctor")
    assert "transformers" in text and "WANDB_API_KEY" in text and "very-secret-value" not in text


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "prompt.txt").write_text("Rate it.\n")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, directory=str(folder), **settings)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()


def test_a_fetched_text_is_checked_and_a_changed_one_is_not_kept(server, tmp_path):
    right = hashlib.sha256(b"Rate it.\n").hexdigest()
    path = fetch("p.txt", tmp_path / "out", {"p.txt": Source(f"{server}/prompt.txt", right, "a prompt")})
    assert path.read_text() == "Rate it.\n"
    with pytest.raises(UserError, match="nothing was written"):
        fetch("q.txt", tmp_path / "out", {"q.txt": Source(f"{server}/prompt.txt", "0" * 64, "a prompt")})
    with pytest.raises(UserError, match=rf"did not answer.*selectit data fetch q.txt --out {tmp_path / 'out'}"):
        fetch("q.txt", tmp_path / "out", {"q.txt": Source(f"{server}/absent.txt", right, "a prompt")})
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["p.txt"]


def test_the_known_hashes_are_those_of_the_real_files(shared):
    for name, folder in (
        ("rating_prompt.txt", "selectit"),
        ("alpaca_eval.txt", "alpaca_eval/prompts"),
        ("alpaca_eval_clf.txt", "alpaca_eval/prompts"),
    ):
        assert hashlib.sha256((shared / folder / name).read_bytes()).hexdigest() == SOURCES[name].sha256


def test_plan_power_states_seeds_and_items_for_each_benchmark(root, demo, tmp_path):
    recipe = root / "recipes" / "quickstart.yaml"
    reported = selectit("plan", recipe, "--runs-dir", tmp_path, "--power", 5, "--seed-spread", 1, "--disagreement", 0.2)
    assert "seeds needed" in reported and "gsm8k" in reported and "four times in five" in reported
    refused = selectit("plan", recipe, "--runs-dir", tmp_path, "--power", 5, rc=1)
    assert "--seed-spread 1.0" in refused
    assert "belong to --power" in selectit("plan", recipe, "--seed-spread", 1, rc=1)
    assert "ask one at a time" in selectit("plan", recipe, "--power", 5, "--price", rc=1)
    nothing = ("--seed-spread", 0, "--disagreement", 0)
    assert "every difference is found" in selectit("plan", recipe, "--power", 5, *nothing, rc=1)
    stated = ("--seed-spread", 1, "--disagreement", 0.2, "--seed-disagreement", 0.1)
    reported = json.loads(selectit("plan", recipe, "--runs-dir", tmp_path, "--power", 5, *stated, "--json"))
    [first, *_] = reported["benchmarks"]
    assert (reported["points"], first["seed_disagreement"], first["seed_spread"]) == (5, 0.1, 0.01)
    assert first["seeds_needed"] is None or first["seeds_needed"] > 1
