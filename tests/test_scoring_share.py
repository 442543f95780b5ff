"""Score and losses stages whose processes are started by hand, as on several nodes: no lost row, none twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from selectit.config import LossStage, ModelConfig, PoolConfig, ScoreStage
from selectit.errors import NotRun, UserError
from selectit.scoring import loss_stage, stage
from selectit.scoring.share import Place, main, place_in, read_task
from selectit.tracking import Tracker

MODULE = ["-m", "selectit.scoring.share"]


@pytest.fixture
def config(demo, small_pool) -> ScoreStage:
    """Rows 0 and 5 have one text."""
    rows = json.loads(small_pool.read_text())
    rows[5] = dict(rows[0])
    small_pool.write_text(json.dumps(rows))
    return ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")),
        prompts=("Rate it.\n\n", "Judge it.\n\n"), batch_tokens=400, num_processes=1,
    )  # fmt: skip


def run(config, out):
    out.mkdir(exist_ok=True)
    what = stage if isinstance(config, ScoreStage) else loss_stage
    return what.run(config, {}, out, Tracker(out, Console(quiet=True)))


def external(config):
    return config.model_copy(update={"launcher": "external"})


def told_to_start(config, out) -> str:
    """Returns: the task's file, from what the stage says."""
    with pytest.raises(NotRun, match="launcher is external") as reported:
        run(external(config), out)
    return re.search(r"python -m selectit.scoring.share (\S+)`", str(reported.value))[1]


def environment(rank: int, world_size: int) -> dict[str, str]:
    """What srun says to one of the tasks on nodes of their own."""
    own = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(world_size), "SLURM_LOCALID": "0"}
    return {**os.environ, **own, "SLURM_STEP_TASKS_PER_NODE": f"1(x{world_size})", "OMP_NUM_THREADS": "1"}


def start(task: str, rank: int, world_size: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *MODULE, task], env=environment(rank, world_size), stderr=subprocess.PIPE, text=True
    )


def equal(whole, shared, column: str) -> None:
    one, other = (parquet.read_table(out / "ledger.parquet") for out in (whole, shared))
    for key in one.column_names[:2]:
        assert one[key].equals(other[key])
    np.testing.assert_allclose(*(np.array(table[column].to_pylist(), dtype=float) for table in (one, other)), atol=1e-6)


def test_shares_of_several_processes_one_of_them_killed_are_the_ledger_of_one(config, tmp_path):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    run(config, whole)
    task = told_to_start(config, shared)
    slow = start(task, 1, 2)
    folder = shared / "ledger"
    while not list(folder.glob("process-*.json")) and slow.poll() is None:
        time.sleep(0.05)
    slow.send_signal(signal.SIGKILL)
    slow.communicate()
    first = start(task, 0, 2)
    reported = first.communicate()[1]
    assert first.returncode == 0 and "share 1 of 2" in reported, reported
    with pytest.raises(NotRun, match="of 80 records are missing"):
        run(external(config), shared)

    again = [start(task, rank, 3) for rank in range(3)]  # another number resumes
    assert [process.communicate() and process.returncode for process in again] == [0, 0, 0]
    found = run(external(config), shared)
    equal(whole, shared, "probabilities")
    assert found["num_ratings"] == 80 and found["tokens_per_second"] > 0
    score = json.loads((shared / "score.json").read_text())
    before = json.loads((whole / "score.json").read_text())
    assert score["num_processes"] == 3
    assert {key: score[key] for key in ("dtype", "device", "rater", "context", "num_tokens")} == {
        key: before[key] for key in ("dtype", "device", "rater", "context", "num_tokens")
    }
    assert not folder.exists()


def test_torchrun_starts_the_shares_of_a_losses_stage_too(config, tmp_path):
    losses = LossStage(pool=config.pool, model=config.model, text="bare", template="alpaca", num_processes=1)
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    run(losses, whole)
    task = told_to_start(losses, shared)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *MODULE, task]
    subprocess.run(torchrun, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    run(external(losses), shared)
    equal(whole, shared, "response_loss")
    assert json.loads((shared / "losses.json").read_text())["num_processes"] == 2


def test_a_ledger_is_not_mixed_from_two_number_types(config, tmp_path):
    task = told_to_start(config, tmp_path / "out")
    process = start(task, 0, 2)
    assert process.communicate() and process.returncode == 0
    other = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    with pytest.raises(UserError, match=r"computed in float32 on cpu, and others would be in bfloat16 on cpu"):
        run(other, tmp_path / "out")
    run(config, tmp_path / "out")  # one process finishes what several began


def test_a_share_is_prepared_before_the_libraries_that_read_it_are_imported():
    code = "import sys, selectit.scoring.share; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_place_of_a_process_is_what_its_launcher_states():
    torchrun = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8", "SLURM_PROCID": "1"}
    assert place_in(torchrun) == Place(9, 16, 1, 8)
    srun = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
    assert place_in(srun) == Place(3, 4, 1, 2)
    assert place_in({}) == Place(0, 1, 0, 1)


def test_a_task_that_is_not_there_or_is_none_and_a_spread_model_next_to_another_are_refused(
    config, tmp_path, monkeypatch
):
    with pytest.raises(UserError, match="does not exist: the stage writes it"):
        read_task(tmp_path / "task.json")
    (tmp_path / "task.json").write_text("{}")
    with pytest.raises(UserError, match="is not a task of a score or losses stage"):
        read_task(tmp_path / "task.json")
    spread = config.model_copy(update={"model": config.model.model_copy(update={"device_map": "auto"})})
    task = told_to_start(spread, tmp_path / "out")
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="start one on each node"):
        main(Path(task))
