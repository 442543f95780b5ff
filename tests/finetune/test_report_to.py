"""`finetune.report_to`: transformers' own callbacks, what is not installed refused before anything runs."""

from __future__ import annotations

import json

import pytest
import wandb_offline
from rich.console import Console

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.finetune import stage
from selectit.finetune.reporting import check_report_to, report_folders
from selectit.tracking import Tracker, wandb_run


def test_what_is_not_installed_is_refused_with_its_pip_line(monkeypatch):
    monkeypatch.setattr("selectit.finetune.reporting.find_spec", lambda name: name == "wandb" or None)
    check_report_to(["wandb"])
    for name in ("tensorboard", "mlflow", "trackio"):
        with pytest.raises(UserError, match=f"{name} is not installed; pip install {name}"):
            check_report_to(["wandb", name])


def test_wandb_of_several_processes_is_refused():
    with pytest.raises(ValueError, match=r"wandb\.enabled logs a training of several processes"):
        FinetuneConfig(report_to=["wandb"], launcher="torchrun", num_processes=2)


def test_files_lie_in_the_folder_of_the_training_and_a_named_server_is_kept(tmp_path, monkeypatch):
    import os

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with report_folders(["tensorboard", "mlflow"], tmp_path):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard")
        assert os.environ["MLFLOW_TRACKING_URI"] == (tmp_path / "mlruns").as_uri()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    with report_folders(["mlflow"], tmp_path):
        assert os.environ["MLFLOW_TRACKING_URI"] == "http://server"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://server"


def test_transformers_callback_logs_into_the_run_of_the_stage_and_no_loss_twice(tiny_llama, subset, tmp_path):
    from tiny_training import stage_config

    out = tmp_path / "out"
    out.mkdir()
    names = {"project": "p", "entity": None, "group": "g", "job_type": "finetune-lora", "name": "n", "config": {}}
    with wandb_run(directory=tmp_path / "wandb", run_id="finetune-1", **names) as run:
        config = stage_config(tiny_llama, report_to=["wandb"], max_steps=2)
        stage.run(config, {"subset": subset}, out, Tracker(out, Console(quiet=True), run))
    [path] = (tmp_path / "wandb").rglob("*.wandb")
    found = wandb_offline.read(path)
    losses = [entry["train/loss"] for entry in found["history"] if "train/loss" in entry]
    assert found["id"] == "finetune-1" and len(losses) == 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["train/loss"] for line in lines if "train/loss" in line] == pytest.approx(losses)
