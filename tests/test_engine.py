"""Running a recipe: kill it anywhere and go on, break one arm, start it twice; real stages in real processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import wandb_offline
import yaml

from selectit.errors import EXIT_PREEMPTED, UserError
from selectit.store.artifact import finish, read_manifest
from selectit.store.runs_folder import Store


@pytest.fixture(scope="module")
def recipe(demo, tmp_path_factory) -> Path:
    """Two arms, one rating prompt, two training steps, two benchmarks."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "pool.json").write_text(json.dumps(json.loads((demo / "pool.json").read_text())[:40]))
    raw = {
        "name": "small",
        "pool": {"path": "./pool.json"},
        "model": {"path": str(demo / "model")},
        "finetune": {
            "max_steps": 3, "global_batch_size": 4, "micro_batch_size": 4, "max_length": 256, "save_steps": 1,
            "gradient_checkpointing": False, "learning_rate": 1e-3, "warmup_ratio": 0,
        },
        "evaluate": {
            "profile": "miniature", "data": str(demo / "benchmarks"), "limit": 2,
            "benchmarks": ["gsm8k", "alpaca_eval"],
        },
        "arms": {
            "selectit": {"select": {"strategy": "selectit", "num_rating_prompts": 2}},
            "random": {"select": {"strategy": "random"}},
        },
        "baseline": "random",
    }  # fmt: skip
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def start(recipe: Path, runs: Path, *extra: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "selectit", "run", str(recipe), "--runs-dir", str(runs), *extra]
    environment = {**os.environ, "COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def read_until(process: subprocess.Popen, marker: str) -> None:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if marker in line:
            return
    pytest.fail(f"{marker} never started:\n{''.join(lines)}")


def finished(recipe: Path, runs: Path, *extra: str, rc: int = 0) -> str:
    process = start(recipe, runs, *extra)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == rc, text
    return text


def table(runs: Path) -> list[tuple]:
    with (runs / "small" / "results.csv").open() as f:
        return sorted((r["row"], r["benchmark"], r["value"], r["fingerprint"]) for r in csv.DictReader(f))


def manifests(runs: Path) -> dict[str, dict]:
    found = {path.name: read_manifest(path) for path in (runs / "artifacts").iterdir()}
    return {name: manifest for name, manifest in found.items() if manifest}


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    runs = tmp_path_factory.mktemp("whole")
    text = finished(recipe, runs)
    assert "9 of 9 stages executed" in text
    return runs


def test_a_second_run_executes_nothing_and_writes_nothing(recipe, whole):
    before = {
        path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file() and "hashes" not in path.name
    }
    assert "0 of 9 stages executed" in finished(recipe, whole)
    assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file() and "hashes" not in p.name}


def test_killed_in_every_kind_of_stage_the_table_is_the_same_and_nothing_finished_is_repeated(recipe, whole, tmp_path):
    done: dict[str, dict] = {}
    for marker in (
        "score pool",
        "select selectit",
        "finetune selectit",
        "evaluate gsm8k of selectit",
        "finetune random",
    ):
        process = start(recipe, tmp_path)
        read_until(process, marker)
        time.sleep(0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = manifests(tmp_path)
        assert done.items() <= now.items()
        done = now
    finished(recipe, tmp_path)
    assert table(tmp_path) == table(whole)
    assert done.items() <= manifests(tmp_path).items()
    assert len({m["process"] for m in manifests(tmp_path).values()}) > 2  # it really went on from where it was


def test_sigterm_stops_with_a_sentence_and_a_code(recipe, tmp_path):
    process = start(recipe, tmp_path)
    read_until(process, "score pool")
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_PREEMPTED
    assert "the same command resumes from here" in text and "Traceback" not in text


def test_a_failing_arm_leaves_a_missing_result_and_the_rest_runs(recipe, whole, tmp_path):
    extra = ["--set", "arms.broken={select: {strategy: length}, finetune: {max_length: 96, max_truncated_share: 0}}"]
    text = finished(recipe, whole, *extra, rc=1)
    assert "failed" in text and "2 of 13 stages executed" in text  # its selection and its training; the rest was done
    with (whole / "small" / "results.csv").open() as f:
        rows = list(csv.DictReader(f))
    broken = [row for row in rows if row["row"] == "broken"]
    assert broken and all(row["status"] == "failed" and row["reason"] and not row["value"] for row in broken)
    assert all(row["value"] for row in rows if row["row"] == "random" and row["benchmark"] == "gsm8k")
    again = subprocess.run(
        [sys.executable, "-m", "selectit", "report", str(recipe), "--runs-dir", str(whole), *extra],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    assert "failed: " in again.stdout and "max_length 96" in again.stdout  # a report alone still knows why
    finished(recipe, whole)  # leave the folder as the other tests expect it


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("finetune.template=chat", "needs a tokenizer with a chat template"),
        ("select.ratio=0.001", "is no row"),
        ("evaluate.judge=hf:org/absent", "org/absent"),
        ("evaluate.data={empty}", "gsm8k"),
    ],
)
def test_what_cannot_work_is_reported_before_anything_runs(recipe, tmp_path, tmp_path_factory, override, wanted):
    override = override.format(empty=tmp_path_factory.mktemp("empty"))
    text = finished(recipe, tmp_path, "--set", override, rc=1)
    assert "preflight failed, no stage was run" in text and wanted in text and "Traceback" not in text
    assert not manifests(tmp_path)


def test_an_added_benchmark_runs_only_what_is_missing(recipe, whole):
    text = finished(recipe, whole, "--set", "evaluate.benchmarks=[gsm8k, alpaca_eval, tydiqa]")
    assert "2 of 11 stages executed" in text
    finished(recipe, whole)


def test_two_runs_at_once_share_the_work(recipe, whole, tmp_path):
    first, second = start(recipe, tmp_path), start(recipe, tmp_path)
    texts = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0, texts
    assert table(tmp_path) == table(whole)
    executed = sum(text.count("] score") for text in texts)
    assert executed == 1


def test_wandb_holds_one_run_per_stage_grouped_by_recipe(whole):
    runs = [wandb_offline.read(path) for path in (whole / "wandb").rglob("*.wandb")]
    assert {run["group"] for run in runs} == {"small"}
    kinds = [run["job_type"] for run in runs]
    assert kinds.count("score") == 1 and kinds.count("finetune-lora") >= 2 and kinds.count("evaluate") >= 4
    training = [run for run in runs if run["job_type"] == "finetune-lora" and run["exit_code"] == 0]
    assert all(any("train/loss" in entry for entry in run["history"]) for run in training)
    [report, *_] = [run for run in runs if run["job_type"] == "report"]
    assert any("results/nrows" in entry for entry in report["history"])
    assert any(name == "report-small" for name in report["artifacts"])
    selecting = [run for run in runs if run["job_type"] == "select"]
    assert all(any("subset" in name for name in run["artifacts"]) for run in selecting)


def test_a_manifest_states_how_its_artifact_came_about_and_holds_no_secret(recipe, whole):
    for manifest in manifests(whole).values():
        assert manifest["seconds"] > 0 and manifest["peak_memory_mb"]["process"] > 0
        assert manifest["libraries"]["torch"] and "git_commit" in manifest and manifest["device"]
        assert manifest["fingerprint"] and manifest["identity"]["kind"] == manifest["kind"]
        assert "environ" not in json.dumps(manifest)


def test_a_stage_that_leaves_a_torn_file_is_not_done(tmp_path):
    (tmp_path / "result.json").write_text('{"value": ')
    with pytest.raises(RuntimeError, match="does not parse"):
        finish(tmp_path, {"identity": {}}, ("result.json",), ("result.json",))
    assert read_manifest(tmp_path) is None


def test_a_locked_folder_is_waited_for_and_its_holder_named(tmp_path):
    store, reported, order = Store(tmp_path), [], []

    def other():
        with store.lock(tmp_path / "a", reported.append):
            order.append("second")

    with store.lock(tmp_path / "a", reported.append):
        thread = threading.Thread(target=other)
        thread.start()
        while not reported:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and f"process {os.getpid()}" in reported[0]


def test_a_named_folder_with_other_work_is_not_overwritten(recipe, demo, tmp_path):
    from rich.console import Console

    from selectit.config import WandbConfig
    from selectit.plan.graph import alone
    from selectit.plan.stages import select_stage
    from selectit.recipe.load import resolve_arm
    from selectit.run.engine import run_plan
    from selectit.run.stage_runner import Session

    def stage(ratio: float):
        select = {"strategy": "random", "ratio": ratio}
        pool = {"path": str(demo / "pool.json")}
        return select_stage(
            resolve_arm({"pool": pool, "model": {"path": str(demo / "model")}, "select": select}), 1, {}
        )

    store = Store(tmp_path / "runs", {"select": tmp_path / "mine"})
    session = Session(store, Console(quiet=True), WandbConfig(enabled=False), "test")
    run_plan(alone(stage(0.2)), session)
    kept = (tmp_path / "mine" / "manifest.json").read_text()
    with pytest.raises(UserError, match="other settings"):
        run_plan(alone(stage(0.5)), session)
    assert (tmp_path / "mine" / "manifest.json").read_text() == kept
