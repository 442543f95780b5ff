"""No command writes over what it reads, over another of its outputs, or over files that it did not write."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.errors import UserError
from selectit.store.outputs import POOL, Output, check_outputs, stage_folder


@pytest.fixture
def place(small_pool, demo, tmp_path):
    """Names of things that commands read, all under one folder; values are hashes of what must not change."""
    model = tmp_path / "model"
    model.mkdir()
    for file in (demo / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (tmp_path / "prompts.json").write_text("Rate it.\n")
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "train.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 9)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored" / "score.json").write_bytes(small_pool.read_bytes())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "results.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text(
        f"name: t\npool: {{path: {small_pool}}}\nmodel: {{path: {model}}}\nbaselines: [base]\n"
        "arms: {base: {finetune: {method: none}}, random: {select: {strategy: random}}}\n"
        "evaluate: {benchmarks: [gsm8k]}\n"
    )
    return tmp_path


def state(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


SELECT = "select {t}/pool.json --strategy random"
RATED = "select {t}/pool.json --model {t}/model --rating-prompts {t}/prompts.json --num-rating-prompts 1"
REFUSED = {
    "the pool": (f"{SELECT} --out {{t}}/pool.json", "POOL reads"),
    "the pool by another path": (f"{SELECT} --out {{t}}/model/../pool.json", "POOL reads"),
    "the pool by a symbolic link": (f"{SELECT} --out {{t}}/symbolic.json", "POOL reads"),
    "the pool by a hard link": (f"{SELECT} --out {{t}}/hard.json", "POOL reads"),
    "the pool as scores": (f"{SELECT} --out {{t}}/y.json --scores {{t}}/pool.json", "POOL reads"),
    "two outputs": (f"{SELECT} --out {{t}}/y.json --scores {{t}}/y.json", "the same file"),
    "the rating prompts": (f"{RATED} --out {{t}}/prompts.json", "--rating-prompts reads"),
    "a part of the model": (f"{RATED} --out {{t}}/s.json --scores {{t}}/model", "is a folder; name a file"),
    "a shard of the pool": ("select {t}/pools --strategy random --out {t}/pools/new.jsonl", "would become a part"),
    "score into its model": ("score {t}/pool.json --model {t}/model --out {t}/model", "--model reads"),
    "score over its pool": ("score {t}/scored/score.json --model {t}/model --out {t}/scored", "POOL reads"),
    "score into a file": ("score {t}/pool.json --model {t}/model --out {t}/pool.json", "is a file; name a folder"),
    "score over what is not its own": ("score {t}/pool.json --model {t}/model --out {t}/scored", "score.json is there"),
    "losses into its model": ("losses {t}/pool.json --model {t}/model --out {t}/model", "--model reads"),
    "finetune into its model": ("finetune {t}/pool.json --model {t}/model --out {t}/model", "--model reads"),
    "finetune over its model": ("finetune {t}/pool.json --model {t}/model --method full --out {t}", "--model reads"),
    "merge into its adapter": ("merge {t}/adapter --out {t}/adapter", "ADAPTER reads"),
    "merge into its base": ("merge {t}/adapter --model {t}/model --out {t}/model", "--model reads"),
    "evaluate into its model": ("evaluate --model {t}/model --out {t}/model", "--model reads"),
    "evaluate into its data": ("evaluate --model {t}/model --data {t}/pools --out {t}/pools", "--data reads"),
    "evaluate over what is not its own": ("evaluate --model {t}/model --out {t}/own", "results.json is there"),
    "export into the pool": ("export {t}/recipe.yaml --out {t}/pool.zip --set pool.path={t}/pool.zip", "reads"),
    "export into the runs": ("export {t}/recipe.yaml --runs-dir {t}/own --out {t}/own", "--runs-dir reads"),
    "fetch into a file": ("data fetch --out {t}/pool.json", "is a file; name a folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_output_that_is_an_input_or_another_output_is_refused_and_nothing_changes(place, name, monkeypatch):
    monkeypatch.chdir(place)
    (place / "symbolic.json").symlink_to(place / "pool.json")
    os.link(place / "pool.json", place / "hard.json")
    (place / "pool.zip").write_bytes((place / "pool.json").read_bytes())
    before = state(place)
    arguments, wanted = REFUSED[name]
    result = CliRunner().invoke(app, arguments.format(t=place).split())
    assert isinstance(result.exception, UserError), result.output
    assert wanted in str(result.exception) and "\n" not in str(result.exception)
    assert state(place) == before


def test_folders_of_outputs_are_made_before_any_work(small_pool, tmp_path):
    new = tmp_path / "a" / "b"
    arguments = f"select {small_pool} --strategy random --out {new}/s.json --scores {tmp_path}/c/d/scores.jsonl"
    result = CliRunner().invoke(app, [*arguments.split(), "--runs-dir", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    assert len(json.loads((new / "s.json").read_text())) == 8
    assert len((tmp_path / "c" / "d" / "scores.jsonl").read_text().splitlines()) == 40


def test_every_command_with_an_output_asks_before_it_works():
    """A new command with --out (or another output) must call `check_outputs`; its source says whether it does."""
    import inspect

    import typer

    def commands(group):
        for command in group.registered_commands:
            yield command.callback
        for inner in group.registered_groups:
            yield from commands(inner.typer_instance)

    writes = [callback for callback in commands(app) if {"out", "scores"} & set(inspect.signature(callback).parameters)]
    assert isinstance(app, typer.Typer) and len(writes) >= 8
    assert [callback.__name__ for callback in writes if "check_outputs(" not in inspect.getsource(callback)] == []


def test_hub_ids_words_and_own_unfinished_folders_pass(tmp_path):
    out = tmp_path / "out"
    check_outputs({POOL: ["tatsu-lab/alpaca"], "--model": [None, "chat"]}, stage_folder("--out", out, "score"))
    (out / ".runs").mkdir()
    check_outputs({}, stage_folder("--out", out, "score"))
    (out / "stage.json").write_text("{}")
    (out / "score.json").write_text("{}")
    check_outputs({}, stage_folder("--out", out, "score"), Output("--scores", out / "new" / "s.jsonl"))
    assert (out / "new").is_dir()


def test_a_fetched_text_does_not_replace_a_file_of_another_content(tmp_path):
    (tmp_path / "rating_prompt.txt").write_text("mine")
    result = CliRunner().invoke(app, ["data", "fetch", "rating_prompt.txt", "--out", str(tmp_path)])
    assert "is there and is not the nine rating prompts" in str(result.exception)
    assert (tmp_path / "rating_prompt.txt").read_text() == "mine"
