"""A training that was killed goes on to the losses of one that was not."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import logged, stage_config, train

from selectit.finetune.checkpoints import drop_metrics_after, newest_complete

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


def test_a_killed_training_goes_on_to_the_same_losses(tiny_llama, subset, tmp_path):
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


def test_the_newest_checkpoint_is_the_one_of_the_latest_step(tmp_path):
    for step in (90, 100, 110):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        text = json.dumps({"global_step": step})
        (folder / "trainer_state.json").write_text(text if step < 110 else text[:9])
    (tmp_path / "checkpoint-120").mkdir()
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-100"
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-90"]
    assert newest_complete(tmp_path / "absent") is None


def test_metrics_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    drop_metrics_after(path, 3)
    assert not path.exists()
    path.write_text('{"step": 3, "a": 1}\n{"step": 4, "a": 2}\n{"step": 5, "a')
    drop_metrics_after(path, 3)
    assert path.read_text() == '{"step": 3, "a": 1}\n'
