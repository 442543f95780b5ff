"""Ready stages elsewhere: a real Ray cluster of this machine and submitit's local jobs give what one process gives."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from test_engine import recipe, start  # noqa: F401

from selectit.config import PoolConfig, SelectStage, WandbConfig
from selectit.errors import UserError
from selectit.plan.graph import Stage, alone
from selectit.run.engine import run_plan
from selectit.run.executors import make_executor
from selectit.run.stage_runner import Session
from selectit.selection.strategies.length import LengthSelect
from selectit.selection.strategies.random import RandomSelect
from selectit.store.runs_folder import Store

EXECUTORS = {"ray": [], "slurm": ["cluster=local"]}


def selections(pool: Path) -> list[Stage]:
    """Three stages that can be run at once; the last one fails, for its ratio is more than its pool has."""
    of = PoolConfig(path=str(pool))
    bad = PoolConfig(path=str(pool), limit=4)
    return [
        Stage("select", SelectStage(pool=of, select=RandomSelect(strategy="random"), seed=1)),
        Stage("select", SelectStage(pool=of, select=LengthSelect(strategy="length", unit="words"))),
        Stage("select", SelectStage(pool=bad, select=RandomSelect(strategy="random", ratio=0.25), seed=1), ()),
    ]


@pytest.mark.parametrize("name", EXECUTORS)
def test_stages_elsewhere_leave_the_artifacts_of_stages_here(small_pool, tmp_path, name):
    stages = selections(small_pool)
    found = {}
    for where, slurm in (("local", []), (name, EXECUTORS[name])):
        session = Session(Store(tmp_path / where), Console(quiet=True), WandbConfig(enabled=False), "test")
        outcomes = run_plan(alone(*stages), session, make_executor(where, session, slurm=slurm))
        assert all(outcome.ran and not outcome.failed for outcome in outcomes.values())
        found[where] = {o.artifact.path.name: o.artifact.content for o in outcomes.values()}
        again = run_plan(alone(*stages), session)
        assert not any(outcome.ran for outcome in again.values())
    assert found["local"] == found[name] and len(found[name]) == 3
    assert len(list((tmp_path / name / "logs").glob("select-*.log"))) == 3


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"name": "rey"}, "--executor rey: allowed are local, ray, slurm"),
        ({"name": "local", "slurm": ["timeout_min=3"]}, "--slurm is for --executor slurm"),
        ({"name": "ray", "slurm": ["timeout_min=3"]}, "--slurm is for --executor slurm"),
        ({"name": "slurm", "slurm": ["cluster=pbs"]}, "allowed are slurm, local"),
        ({"name": "slurm", "slurm": ["cluster=local", "tiem=3"]}, "tiem"),
        ({"name": "slurm", "ray_address": "auto"}, "--ray-address is for --executor ray"),
    ],
)
def test_an_executor_that_cannot_be_is_refused(tmp_path, arguments, wanted):
    session = Session(Store(tmp_path), Console(quiet=True), WandbConfig(enabled=False), "test")
    with pytest.raises(UserError, match=wanted):
        make_executor(session=session, **arguments)


def test_slurm_without_slurm_is_reported(tmp_path):
    session = Session(Store(tmp_path), Console(quiet=True), WandbConfig(enabled=False), "test")
    with pytest.raises(UserError, match="srun"):
        make_executor("slurm", session)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXECUTORS)
def test_a_killed_worker_s_stage_runs_again_and_the_table_is_the_same(recipe, tmp_path, name):  # noqa: F811
    options = [option for value in EXECUTORS[name] for option in ("--slurm", value)]
    assert start(recipe, tmp_path / "here").wait(timeout=600) == 0
    process = start(recipe, tmp_path / "there", "--executor", name, *options)
    killed = kill_one_that_trains(process, tmp_path / "there" / "artifacts")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert killed and table(tmp_path / "there") == table(tmp_path / "here")


def kill_one_that_trains(process: subprocess.Popen, artifacts: Path) -> bool:
    """SIGKILL to the process that holds a training's lock, once it has written a step."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        for holder in artifacts.glob("finetune-*/.holder"):
            steps = holder.parent / "metrics.jsonl"
            if steps.is_file() and steps.read_text().count("train/loss"):
                pid = int(holder.read_text().split()[1])
                assert psutil.pid_exists(pid) and pid != process.pid
                os.kill(pid, signal.SIGKILL)
                return True
        time.sleep(0.05)
    return False


def table(runs: Path) -> list[tuple[str, ...]]:
    with (runs / "small" / "results.csv").open() as f:
        return [tuple(row[c] for c in ("row", "benchmark", "value", "fingerprint")) for row in csv.DictReader(f)]
