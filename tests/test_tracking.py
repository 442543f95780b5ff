from __future__ import annotations

import json
import warnings

import pytest
import wandb
import wandb_offline
from rich.console import Console

from selectit.tracking import Tracker, wandb_mode, wandb_run


@pytest.fixture
def settings(tmp_path) -> dict:
    return dict(
        directory=tmp_path / "wandb", project="test", entity=None, group="my-recipe", job_type="score", name="score x",
        config={"stage": {"alpha": 0.2}},
    )  # fmt: skip


def offline_file(tmp_path):
    [path] = (tmp_path / "wandb").rglob("*.wandb")
    return path


def test_an_offline_run_holds_group_config_metrics_histogram_table_and_artifact(settings, tmp_path):
    subset = tmp_path / "subset.json"
    subset.write_text("[]")
    with wandb_run(**settings) as run:
        tracker = Tracker(tmp_path, Console(quiet=True), run)
        tracker.log({"train/loss": 1.5}, step=3)
        tracker.histogram("select/score", [0.1, 0.2])
        tracker.table("items", ["a"], [[1]])
        tracker.artifact("subset-x", "dataset", subset)
    found = wandb_offline.read(offline_file(tmp_path))
    assert (found["group"], found["job_type"], found["name"]) == ("my-recipe", "score", "score x")
    assert found["config"]["stage"] == {"alpha": 0.2}
    assert found["history"][0]["train/loss"] == 1.5 and found["history"][0]["stage_step"] == 3
    assert any(entry.get("select/score/_type") == "histogram" for entry in found["history"])
    assert any(entry.get("items/nrows") == 1 for entry in found["history"])
    assert any("subset-x" in name for name in found["artifacts"])
    assert found["exit_code"] == 0
    [line] = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["train/loss"] == 1.5 and line["step"] == 3


def test_a_stage_that_raises_closes_its_run_as_failed(settings, tmp_path):
    with pytest.raises(RuntimeError, match="boom"), wandb_run(**settings):
        raise RuntimeError("boom")
    assert wandb_offline.read(offline_file(tmp_path))["exit_code"] == 1


def test_without_an_answer_from_the_server_the_stage_is_logged_offline(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("selectit.tracking.WANDB_INIT_TIMEOUT_SECONDS", 2)
    wandb.teardown()  # its service keeps the address that it was started with
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        with wandb_run(**settings) as run:
            Tracker(tmp_path, Console(quiet=True), run).log({"a": 1})
    assert any("not reachable" in str(w.message) for w in reported)
    assert "a" in (tmp_path / "metrics.jsonl").read_text()
    files = (tmp_path / "wandb").rglob("offline-run-*/*.wandb")
    assert any({"a": 1}.items() <= entry.items() for f in files for entry in wandb_offline.read(f)["history"])


def test_a_record_that_wandb_refuses_costs_one_warning_and_nothing_else(tmp_path):
    class Broken:
        def log(self, _):
            raise ConnectionError("gone")

    tracker = Tracker(tmp_path, Console(quiet=True), Broken())
    with pytest.warns(UserWarning, match="gone") as reported:
        tracker.log({"a": 1})
        tracker.log({"a": 2})
    assert len(reported) == 1 and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_mode_follows_the_environment_and_the_key(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert wandb_mode() == "online"
