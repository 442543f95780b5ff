"""A training that was killed resumes to the losses of one that was not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tiny_training import logged, stage_config, train
from transformers import TrainerControl, TrainerState

from selectit.config import FinetuneConfig
from selectit.errors import Preempted, UserError
from selectit.finetune import checkpoints, trainer
from selectit.finetune import train as training
from selectit.finetune.checkpoints import (
    SLACK_BYTES,
    checkpoint_bytes,
    drop_incomplete,
    drop_metrics_after,
    keep_newest,
    mark_complete,
    newest_complete,
    refuse_other_shares,
)
from selectit.inference.load import load_model
from selectit.tracking import Tracker

SETTINGS = {"save_steps": 2, "lora": {"dropout": 0.2}, "num_train_epochs": 3, "warmup_ratio": 0.2}
KILLED_TRAINING = """
import json, os, signal, sys
from pathlib import Path
from rich.console import Console
from selectit.config import FinetuneStage
from selectit.finetune import stage
from selectit.tracking import Tracker

config, subset, out, last_step = sys.argv[1:]

class DeadlyTracker(Tracker):
    def log(self, metrics, step=None):
        super().log(metrics, step)
        if step == int(last_step):
            with (Path(out) / "metrics.jsonl").open("a") as f:
                f.write('{"step": 6, "tra')  # a line that the kill cut off
            os.kill(os.getpid(), signal.SIGKILL)

tracker = DeadlyTracker(Path(out), Console())
stage.run(FinetuneStage.model_validate_json(config), {"subset": Path(subset)}, Path(out), tracker)
"""


def kill_at(last_step: int, config, subset: Path, out: Path) -> None:
    """Train in a process of its own, which kills itself once it has logged `last_step`."""
    out.mkdir()
    command = [sys.executable, "-c", KILLED_TRAINING, config.model_dump_json(), str(subset), str(out), str(last_step)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_training_resumes_to_the_same_losses(tiny_llama, subset, tmp_path):
    config = stage_config(tiny_llama, **SETTINGS)
    train(config, subset, tmp_path / "whole")
    out = tmp_path / "killed"
    kill_at(5, config, subset, out)
    checkpoints = out / "checkpoints"
    assert sorted(folder.name for folder in checkpoints.iterdir()) == ["checkpoint-2", "checkpoint-4"]
    half = checkpoints / "checkpoint-6"  # killed while it wrote a checkpoint: all but the state file
    shutil.copytree(checkpoints / "checkpoint-4", half)
    (half / "trainer_state.json").unlink()

    train(config, subset, out)

    for name in ("train/loss", "train/grad_norm", "train/learning_rate", "train/epoch"):
        assert logged(out, name) == logged(tmp_path / "whole", name)
    whole, resumed = (json.loads((folder / "training.json").read_text()) for folder in (tmp_path / "whole", out))
    for name in ("num_steps", "num_epochs", "final_loss", "tail_loss"):
        assert resumed[name] == whole[name]
    weights = "adapter/adapter_model.safetensors"
    assert (out / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    assert not checkpoints.exists()


@pytest.mark.parametrize("last_step", [1, 3, 7])
@pytest.mark.slow
def test_the_step_of_the_kill_does_not_matter(last_step, tiny_llama, subset, tmp_path):
    config = stage_config(tiny_llama, **SETTINGS)
    train(config, subset, tmp_path / "whole")
    kill_at(last_step, config, subset, tmp_path / "killed")
    train(config, subset, tmp_path / "killed")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


class Stop(Exception):
    pass


def test_every_checkpoint_is_continued_from_exactly(tiny_llama, subset, tmp_path, monkeypatch):
    """Full training, stopped after each step in turn: also the first and the last step of an epoch."""
    config = stage_config(tiny_llama, method="full", save_steps=1, num_train_epochs=2)
    train(config, subset, tmp_path / "whole")
    from selectit.tracking import Tracker

    log = Tracker.log

    def log_and_stop(self, metrics, step=None):
        log(self, metrics, step)
        if step > stops[-1]:
            stops.append(step)
            raise Stop

    stops = [0]
    monkeypatch.setattr(Tracker, "log", log_and_stop)
    while stops[-1] < 6:
        with pytest.raises(Stop):
            train(config, subset, tmp_path / "stopped")
    monkeypatch.setattr(Tracker, "log", log)
    train(config, subset, tmp_path / "stopped")
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole")


def write_checkpoint(folder: Path, step: int, num_processes: int = 2, deepspeed: str = "none") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for rank in range(num_processes):
        (checkpoint / f"rng_state_{rank}.pth").write_bytes(b"state")
    launcher = "none" if num_processes == 1 else "torchrun"
    finetune = FinetuneConfig(num_processes=num_processes, launcher=launcher, deepspeed=deepspeed)
    mark_complete(checkpoint, finetune)
    return checkpoint


def test_a_checkpoint_counts_with_the_files_of_every_process_only(tmp_path):
    for step in (90, 100, 110, 120, 130):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-110" / "rng_state_1.pth").unlink()
    (tmp_path / "checkpoint-120" / "complete.json").unlink()
    (tmp_path / "checkpoint-130" / "rng_state_0.pth").write_bytes(b"sta")
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-100"
    drop_incomplete(tmp_path)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-90"]
    assert newest_complete(tmp_path / "absent") is None


def test_two_checkpoints_are_kept(tmp_path):
    for step in (8, 10, 12):
        write_checkpoint(tmp_path, step)
    keep_newest(tmp_path)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-12"]


def test_an_optimizer_that_is_shared_out_keeps_its_number_of_processes(tmp_path):
    checkpoint = write_checkpoint(tmp_path, 3, deepspeed="zero2")
    four = FinetuneConfig(num_processes=4, launcher="torchrun", deepspeed="zero2")
    with pytest.raises(UserError, match=r"written by 2 processes and finetune.num_processes is 4.*to 2 to resume, or"):
        refuse_other_shares(checkpoint, four)
    refuse_other_shares(checkpoint, four.model_copy(update={"num_processes": 2}))
    refuse_other_shares(write_checkpoint(tmp_path, 4), four.model_copy(update={"deepspeed": "none"}))


def test_a_checkpoint_that_does_not_fit_on_the_disk_stops_the_training_before_it_is_begun(
    tiny_llama, subset, tmp_path, monkeypatch
):
    config, out = stage_config(tiny_llama, **SETTINGS), tmp_path / "out"
    usage, free = shutil.disk_usage(tmp_path), iter([2**40, 0, 0])
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(UserError, match=r"step 4: the checkpoint needs about .* GiB .*checkpoint-2 is kept"):
        train(config, subset, out)
    monkeypatch.undo()
    assert [folder.name for folder in (out / "checkpoints").iterdir()] == ["checkpoint-2"]
    train(config, subset, out)
    assert len(logged(out)) == 9


def test_the_estimate_of_a_checkpoint_is_near_what_is_written(tiny_llama, subset, tmp_path):
    config = stage_config(tiny_llama, method="full", save_steps=2)
    kill_at(3, config, subset, tmp_path / "killed")
    [checkpoint] = (tmp_path / "killed" / "checkpoints").iterdir()
    written = sum(path.stat().st_size for path in checkpoint.iterdir())
    estimated = checkpoint_bytes(load_model(config.model), sharded=False) - SLACK_BYTES
    assert estimated <= written <= estimated + SLACK_BYTES


def test_a_finished_training_is_repeated_only_where_its_weights_are_damaged(tiny_llama, subset, tmp_path):
    config = stage_config(tiny_llama, max_steps=2)
    train(config, subset, tmp_path / "out")
    before = (tmp_path / "out" / "metrics.jsonl").stat().st_mtime_ns
    assert train(config, subset, tmp_path / "out")["num_steps"] == 2
    assert (tmp_path / "out" / "metrics.jsonl").stat().st_mtime_ns == before
    weights = tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    os.truncate(weights, 1000)
    train(config, subset, tmp_path / "out")
    assert weights.read_bytes() == whole
    assert (tmp_path / "out" / "metrics.jsonl").stat().st_mtime_ns > before


def test_sigterm_ends_the_step_and_saves_it(tiny_llama, subset, tmp_path, monkeypatch):
    config, out = stage_config(tiny_llama, lora={"dropout": 0.2}), tmp_path / "out"
    train(config, subset, tmp_path / "whole")
    log = Tracker.log

    def log_and_terminate(self, metrics, step=None):
        log(self, metrics, step)
        if step in stops:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Tracker, "log", log_and_terminate)
    stops = {2}
    with pytest.raises(Preempted, match="after training step 3 of 6, which is saved"):
        train(config, subset, out)
    assert [folder.name for folder in (out / "checkpoints").iterdir()] == ["checkpoint-3"]
    stops = {6}  # when the last step is over, the training is
    with pytest.raises(Preempted, match="after the last training step"):
        train(config, subset, out)
    train(config, subset, out)
    assert logged(out) == logged(tmp_path / "whole")


CTRL_C = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from selectit.config import FinetuneStage
from selectit.errors import Preempted
from selectit.finetune import stage
from selectit.tracking import Tracker

config, subset, out, times = sys.argv[1:]

class Interrupted(Tracker):
    def log(self, metrics, step=None):
        super().log(metrics, step)
        if step == 2:
            for _ in range(int(times)):
                os.kill(os.getpid(), signal.SIGINT)

tracker = Interrupted(Path(out), Console())
try:
    stage.run(FinetuneStage.model_validate_json(config), {"subset": Path(subset)}, Path(out), tracker)
except Preempted as stopped:
    print(stopped)
    sys.exit(stopped.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("times", "saved"), [(1, ["checkpoint-3"]), (2, [])])
def test_ctrl_c_saves_the_step_as_sigterm_does_and_a_second_one_stops_at_once(
    times, saved, tiny_llama, subset, tmp_path
):
    config, out = stage_config(tiny_llama), tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", CTRL_C, config.model_dump_json(), str(subset), str(out), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "Ctrl-C again stops at once" in done.stderr
    if times == 1:
        assert done.returncode == 130 and "after training step 3 of 6, which is saved" in done.stdout, done.stderr
    else:
        assert "KeyboardInterrupt" in done.stderr
    assert [folder.name for folder in (out / "checkpoints").iterdir()] == saved


def test_checkpoints_are_also_due_by_the_clock(tiny_llama, subset, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(trainer, "keep_newest", lambda folder: saved.append(newest_complete(folder).name))
    clock = iter(range(0, 10**6, 40))  # 40 s pass from one look to the next
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(clock))
    train(stage_config(tiny_llama, save_minutes=0.5, save_steps=200), subset, tmp_path / "often")
    assert saved[0] == "checkpoint-1" and saved[-1] == "checkpoint-6"
    saved.clear()
    train(stage_config(tiny_llama, save_minutes=60, save_steps=200), subset, tmp_path / "seldom")
    assert saved == ["checkpoint-6"], "the last step is saved whatever the clock says"


def test_saving_takes_a_tenth_of_the_time_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    saving = checkpoints.SaveInTime(minutes=1)
    state, control = TrainerState(max_steps=10**6), TrainerControl()
    saving.on_train_begin(None, state, control)
    saved = []
    for _ in range(200):  # steps of 10 s, saves of 30 s
        now[0] += 10
        control.should_save = False
        saving.on_step_end(None, state, control)
        if control.should_save:
            saved.append(now[0])
            now[0] += 30
            saving.on_save(None, state, control)
    assert saved[0] == 60 and {later - earlier for earlier, later in pairwise(saved)} == {330.0}


def disk_is_full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_full_disk_at_the_final_save_loses_no_step(method, tiny_llama, subset, tmp_path, monkeypatch):
    # 7 steps end within an epoch
    config, out = stage_config(tiny_llama, method=method, max_steps=7, lora={"dropout": 0.2}), tmp_path / "out"
    train(config, subset, tmp_path / "whole")
    monkeypatch.setattr(training, "save_weights", disk_is_full)
    with pytest.raises(UserError, match=r"no room for .*All 7 steps are saved in .* only writes the weights"):
        train(config, subset, out)
    monkeypatch.undo()
    monkeypatch.setattr(trainer.ResponseTrainer, "training_step", lambda *_: pytest.fail("a step was trained again"))
    train(config, subset, out)
    assert logged(out) == logged(tmp_path / "whole")
    folder = "model" if method == "full" else "adapter"
    names = {path.name for path in (out / folder).iterdir()}
    assert names == {path.name for path in (tmp_path / "whole" / folder).iterdir()}
    [weights] = (out / folder).glob("*.safetensors")
    assert weights.read_bytes() == (tmp_path / "whole" / folder / weights.name).read_bytes()
    assert not (out / "checkpoints").exists()


def test_the_checkpoint_of_the_last_step_takes_the_room_of_older_ones(tiny_llama, subset, tmp_path, monkeypatch):
    """It needs the weights alone, and an older one holds the optimizer too."""
    config, out = stage_config(tiny_llama, save_steps=2, max_steps=5), tmp_path / "out"
    usage, looks = shutil.disk_usage(tmp_path), []

    def free(_):
        looks.append(sorted(path.name for path in (out / "checkpoints").iterdir()))
        return usage._replace(free=0 if "checkpoint-2" in looks[-1] and "checkpoint-4" in looks[-1] else 2**40)

    monkeypatch.setattr(checkpoints.shutil, "disk_usage", free)
    train(config, subset, out)
    assert looks[-2:] == [["checkpoint-2", "checkpoint-4"], ["checkpoint-4"]]


def test_a_card_that_was_edited_and_a_file_of_ones_own_are_not_damage_and_are_kept(tiny_llama, subset, tmp_path):
    config, out = stage_config(tiny_llama, max_steps=2), tmp_path / "out"
    train(config, subset, out)
    (out / "adapter" / "README.md").write_text("# my own words\n")
    (out / "adapter" / "notes.txt").write_text("lr too high?\n")
    before = (out / "metrics.jsonl").stat().st_mtime_ns
    train(config, subset, out)
    assert (out / "metrics.jsonl").stat().st_mtime_ns == before, "nothing was trained again"
    os.truncate(out / "adapter" / "adapter_model.safetensors", 1000)
    train(config, subset, out)
    assert (out / "metrics.jsonl").stat().st_mtime_ns > before
    assert (out / "adapter" / "notes.txt").read_text() == "lr too high?\n"
    assert (out / "adapter" / "README.earlier.md").read_text() == "# my own words\n"
    assert "| trained on | 10 rows" in (out / "adapter" / "README.md").read_text()


def test_metrics_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    drop_metrics_after(path, 3)
    assert not path.exists()
    path.write_text('{"step": 3, "a": 1}\n{"step": 4, "a": 2}\n{"step": 5, "a')
    drop_metrics_after(path, 3)
    assert path.read_text() == '{"step": 3, "a": 1}\n'
