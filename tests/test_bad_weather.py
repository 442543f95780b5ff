"""Damage and full disks: what is said of them, without running a stage. `test_crash.py` has the real thing."""

from __future__ import annotations

import errno
import io
import json
import os
import types

import pytest
from finished_work import Work, call
from rich.console import Console

from selectit.cli import app as cli
from selectit.config import WandbConfig
from selectit.plan.build import build
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.run import engine, preflight
from selectit.run import stage_runner as execution
from selectit.run.engine import run_plan
from selectit.run.stage_runner import Session
from selectit.store.runs_folder import Store


@pytest.fixture
def work(tmp_path, demo):
    return Work(tmp_path, demo).finish()


@pytest.mark.parametrize(
    ("kind", "file", "wanted"),
    [
        ("score", "ledger.parquet", "damaged: ledger.parquet is gone"),
        ("evaluate", "items.jsonl", "damaged: items.jsonl has 3 bytes, 67 when it was written"),
    ],
)
def test_a_plan_names_the_file_that_is_damaged(work, kind, file, wanted):
    path = work.path(kind) / file
    path.unlink() if "gone" in wanted else path.write_text("{}\n")
    assert wanted in call("plan", work.recipe, "--runs-dir", work.runs)


def run(work: Work, monkeypatch, stage_run) -> tuple[str, dict]:
    """A run in which every stage does what `stage_run` does."""
    for module in (execution, preflight, engine):
        monkeypatch.setattr(module, "module_of", lambda stage: types.SimpleNamespace(run=stage_run))
    console = Console(record=True, width=200, file=io.StringIO())
    outcomes = run_plan(
        build(load(work.recipe)), Session(Store(work.runs), console, WandbConfig(enabled=False), "test")
    )
    return console.export_text(), outcomes


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_fails_the_stage_with_the_room_that_is_left(work, monkeypatch):
    (work.path("evaluate") / "items.jsonl").unlink()
    text, outcomes = run(work, monkeypatch, full)
    assert "No space left on device:" in text and "MB free in" in text and "run the same command again" in text
    assert [o.failed for o in outcomes.values()].count(True) == 1


def test_a_traceback_that_the_disk_does_not_take_is_shown(work, monkeypatch):
    (work.path("evaluate") / "items.jsonl").unlink()
    monkeypatch.setattr("pathlib.Path.write_text", lambda path, *a, **k: full() if path.name == "error.txt" else 0)
    monkeypatch.setattr(execution, "_claim", lambda *_: None)

    def broken(*_):
        raise ValueError("something else")

    text, _ = run(work, monkeypatch, broken)
    assert "details could not be written (No space left on device)" in text and "Traceback" in text


def test_a_full_disk_needs_no_traceback(work, monkeypatch):
    (work.path("evaluate") / "items.jsonl").unlink()
    text, _ = run(work, monkeypatch, full)
    assert "failed: No space left on device" in text and "Traceback" not in text and "details" not in text


def test_a_stage_that_leaves_no_result_fails_alone(work, monkeypatch):
    """It used to end the whole command."""
    (work.path("evaluate") / "items.jsonl").unlink()
    monkeypatch.setattr(execution, "_manifest", lambda stage, now, *_: {"identity": now.identity})
    text, outcomes = run(work, monkeypatch, lambda *_: {})
    assert "items.jsonl was not written by its stage" in text
    assert (
        sum(o.failed for o in outcomes.values()) == 1 and sum(o.artifact is not None for o in outcomes.values()) == 16
    )


def test_the_manifest_of_a_damaged_artifact_goes_before_its_folder_is_written_again(work, monkeypatch):
    """Killed on the way, new files must not be taken for what the old manifest describes."""
    path = work.path("evaluate")
    (path / "items.jsonl").unlink()
    run(work, monkeypatch, full)
    assert not (path / "manifest.json").exists()
    plan = build(load(work.recipe))
    whys = [state.why for state in inspect(plan, Store(work.runs)).values() if state.status == "resume"]
    assert whys == ["unfinished folder"]


def test_a_disk_that_fills_up_between_stages_ends_with_a_sentence(work, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", lambda: full())
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1 and "what is finished is kept" in capsys.readouterr().err


def test_a_plan_that_does_not_fit_on_the_disk_is_not_started(work, monkeypatch):
    monkeypatch.setattr("selectit.run.preflight.shutil.disk_usage", lambda _: types.SimpleNamespace(free=10_000_000))
    assert preflight_faults(work, "finetune.max_steps=3") == []
    [fault] = preflight_faults(work, "finetune.max_steps=3", "finetune.method=full")
    assert "0.01 GB free, and 4 trainings write" in fault and "selectit gc" in fault


def test_a_gated_model_that_is_evaluated_as_it_is_is_reported_before_anything_runs(work, monkeypatch):
    def gated(*_, **__):
        raise OSError("401: access to model org/gated is restricted")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", gated)
    assert preflight_faults(work) == []
    work.write({**work.raw, "model": {"path": "org/gated"}})
    [fault] = preflight_faults(work)
    assert "org/gated" in fault and "is restricted" in fault and "HF_TOKEN" in fault


def preflight_faults(work: Work, *overrides: str) -> list[str]:
    stages = build(load(work.recipe, overrides)).stages
    return [*preflight.disk_faults(stages, work.runs), *preflight.model_faults(stages)]


def test_what_later_stages_do_not_read_is_not_damage(work):
    """A card that was edited, a log that was cut, a note that somebody put there."""
    path = work.path("finetune-lora")
    card = path / "adapter" / "README.md"
    card.write_text("# The card as it was written\n")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["adapter/README.md"] = card.stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest))
    card.write_text("# In my own words\n")
    (path / "adapter" / "notes.txt").write_text("look at this again\n")
    (path / "notes.json").write_text("not even JSON")
    text = call("plan", work.recipe, "--runs-dir", work.runs)
    assert "17 done" in text, text
    os.truncate(path / "adapter" / "adapter_model.safetensors", 1)
    assert "damaged: adapter/adapter_model.safetensors has 1 bytes" in call(
        "plan", work.recipe, "--runs-dir", work.runs
    )


def test_files_that_no_stage_wrote_are_not_overwritten(work, demo, tmp_path):
    out = tmp_path / "mine"
    (out / "adapter").mkdir(parents=True)
    (out / "adapter" / "adapter_model.safetensors").write_text("weeks of work")
    text = call("finetune", demo / "pool.json", "--model", demo / "model", "--out", out, rc=1)
    assert f"--out {out}: adapter is there and was not written by this command" in text.replace("\n", ""), text
    assert (out / "adapter" / "adapter_model.safetensors").read_text() == "weeks of work"
