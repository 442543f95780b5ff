"""What W&B holds of a recipe: one run per stage that a resumed stage continues, and one of the finished table."""

from __future__ import annotations

import subprocess
import sys

import pytest
import wandb
import wandb_offline
from finished_work import Work
from rich.console import Console

from selectit.config import WandbConfig
from selectit.evaluate.results import BenchmarkResult, Metric
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.report import write_report
from selectit.run.engine import found, labels, log_report, run_plan
from selectit.run.stage_runner import Session
from selectit.store.runs_folder import Store


def runs(folder) -> list[dict]:
    return [wandb_offline.read(path) for path in sorted((folder / "wandb").rglob("*.wandb"))]


@pytest.fixture(scope="module")
def work(tmp_path_factory, demo):
    return Work(tmp_path_factory.mktemp("work"), demo).finish()


def session(folder) -> Session:
    return Session(Store(folder), Console(quiet=True), WandbConfig(project="test"), group="small")


def test_a_resumed_stage_continues_the_run_that_it_began(work, tmp_path, monkeypatch):
    plan = build(load(work.recipe))
    [stage] = [s for row in plan.rows if row.arm == "random" for s in row.stages("select")]
    only = type(plan)(plan.rows, (stage,), plan.recipe)
    with monkeypatch.context() as patch:
        patch.setattr("selectit.selection.stage.write_subset", lambda *_: 1 / 0)
        run_plan(only, session(tmp_path))
    run_plan(only, session(tmp_path))
    broken, whole = runs(tmp_path)
    assert broken["id"] == whole["id"] and whole["id"].startswith("select-")
    assert sorted([broken["exit_code"], whole["exit_code"]]) == [0, 1]
    assert (whole["group"], whole["job_type"]) == ("small", "select")
    config = whole["config"]
    assert (config["arm"], config["row"], config["strategy"], config["ratio"]) == ("random", "random", "random", 0.2)
    assert config["select_seed"] == 42 and "train_seed" not in config and config["method"] == "lora"


ONE_RUN = """
import sys, time, warnings
from pathlib import Path
from selectit.tracking import wandb_run
with wandb_run(directory=Path(sys.argv[1]), project="p", entity=None, group="g", job_type="select", name="n", config={},
               run_id="select-1") as run:
    print(run.id, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_run_that_the_service_still_holds_for_a_killed_process_does_not_cost_the_stage(tmp_path):
    """Processes share a service where their parent has used W&B: a notebook, or a launcher."""
    wandb.setup()
    command = [sys.executable, "-c", ONE_RUN, str(tmp_path)]
    killed = subprocess.Popen([*command, "60"], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None and killed.stdout.readline() == "select-1\n"
    killed.kill()
    killed.wait()
    again = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert "W&B holds this run already" in again.stderr and again.stdout.startswith("select-1-")


def test_a_stage_runs_where_wandb_starts_nothing(work, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    monkeypatch.setenv("WANDB_MODE", "offline")
    plan = build(load(work.recipe))
    [stage] = [s for row in plan.rows if row.arm == "random" for s in row.stages("select")]
    with pytest.warns(UserWarning, match="W&B starts no run"):
        outcomes = run_plan(type(plan)(plan.rows, (stage,), plan.recipe), session(tmp_path))
    assert outcomes[stage].artifact is not None


def test_the_labels_of_a_stage_are_the_settings_of_the_rows_that_need_it(work):
    plan = build(load(work.recipe))
    scoring = labels(plan, next(s for s in plan.stages if s.kind == "score"))
    assert scoring["arm"] == "selectit" and scoring["level"] == "sentence"
    seeds = {labels(plan, s)["train_seed"] for s in plan.stages if s.kind == "finetune-lora"}
    assert seeds == {1, 2}
    reported = [labels(plan, s) for s in plan.stages if s.kind == "evaluate"]
    assert {one["benchmark"] for one in reported} == {"mmlu", "gsm8k"}
    base = next(one for one in reported if one["arm"] == "base")
    assert base["method"] == "none" and "strategy" not in base


def test_metrics_of_the_system_are_on(work, tmp_path, monkeypatch):
    seen = []
    start = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **given: seen.append(given) or start(**given))
    plan = build(load(work.recipe))
    [stage] = [s for row in plan.rows if row.arm == "random" for s in row.stages("select")]
    run_plan(type(plan)(plan.rows, (stage,), plan.recipe), session(tmp_path))
    [given] = seen
    assert not given["settings"].x_disable_stats and given["resume"] == "allow"


def test_the_summary_run_holds_table_plots_and_report_and_is_continued(work, tmp_path):
    plan = build(load(work.recipe))
    report = write_report(plan, found(plan, Store(work.runs)), work.runs)
    for _ in range(2):
        log_report(report, session(tmp_path), plan.recipe.config)
    first, second = runs(tmp_path)
    assert first["id"] == second["id"] == "report-small" and first["job_type"] == "report"
    logged = {key for entry in first["history"] for key in entry}
    assert {"table/nrows", "results/nrows"} <= logged
    plots = {key.split("/")[1] for key in logged if key.startswith("plots/")}
    assert {"Response lengths", "Score distributions"} <= plots and any(key.startswith("report/") for key in logged)
    assert first["config"]["recipe"]["name"] == "small" and "report-small" in first["artifacts"]
    assert first["summary"]["mmlu/selectit"] == 25.0 and first["summary"]["average/base"] == 25.0


def test_an_evaluation_logs_its_metrics_under_their_names():
    result = BenchmarkResult(benchmark="mmlu", metric="acc", profile="p", num_items=8)
    result.score({"acc": Metric(0.5, 0.1, 8)})
    assert result.named() == {"mmlu/num_items": 8.0, "mmlu/acc": 0.5, "mmlu/acc_stderr": 0.1}
