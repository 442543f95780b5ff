"""No command writes over what it reads, over another of its outputs, or over files that it did not write."""

from __future__ import annotations

import hashlib
import json
import os
import re
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
    (tmp_path / "scored" / "artifacts").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "results.json").write_text("{}")
    (tmp_path / "busy" / "ledger").mkdir(parents=True)
    (tmp_path / "busy" / "ledger" / "mine.txt").write_text("mine")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "hashes.json").write_bytes(small_pool.read_bytes())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("mine")
    (tmp_path / "bench" / "gsm8k").mkdir(parents=True)
    (tmp_path / "bench" / "gsm8k" / "test.jsonl").write_bytes(
        (demo / "benchmarks" / "gsm8k" / "test.jsonl").read_bytes()
    )
    (tmp_path / "bench" / "profile.json").write_text("mine")
    (tmp_path / "evaluated" / "artifacts" / "evaluate-0").mkdir(parents=True)
    (tmp_path / "evaluated" / "artifacts" / "evaluate-0" / "manifest.json").write_text("{}")
    (tmp_path / "answers.jsonl").write_text('{"benchmark": "gsm8k", "task": "gsm8k", "doc_id": 0, "answer": "1"}\n')
    (tmp_path / "taken" / "artifacts").mkdir(parents=True)
    (tmp_path / "taken" / "artifacts" / "notes").mkdir()
    (tmp_path / "taken" / "results.json").write_text("mine")
    (tmp_path / "mine.zip").write_text("mine")
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
SHOW = "evaluate --show gsm8k --profile miniature --data {t}/bench --model {t}/model"
REPORT = "report {t}/recipe.yaml --runs-dir {t}"
RATED = "select {t}/pool.json --model {t}/model --rating-prompts {t}/prompts.json --set num_rating_prompts=1"
REFUSED = {
    "the pool": (f"{SELECT} --out {{t}}/pool.json", "POOL reads"),
    "the pool by another path": (f"{SELECT} --out {{t}}/model/../pool.json", "POOL reads"),
    "the pool by a symbolic link": (f"{SELECT} --out {{t}}/symbolic.json", "POOL reads"),
    "the pool by a hard link": (f"{SELECT} --out {{t}}/hard.json", "POOL reads"),
    "the pool as scores": (f"{SELECT} --out {{t}}/y.json --scores {{t}}/pool.json", "POOL reads"),
    "two outputs": (f"{SELECT} --out {{t}}/y.json --scores {{t}}/y.json", "the same file"),
    "the rating prompts": (f"{RATED} --out {{t}}/prompts.json", "--rating-prompts reads"),
    "a part of the model": (f"{RATED} --out {{t}}/s.json --scores {{t}}/model", "is a folder; name a file"),
    "a file of the model": (f"{RATED} --out {{t}}/model/config.json", "lies in {t}/model, which --model reads"),
    "a file of the model by a link": (
        f"{RATED} --out {{t}}/s.json --scores {{t}}/link/tokenizer.json", "--model reads",
    ),
    "a new file in the model": (f"{RATED} --out {{t}}/model/subset.json", "would become a part of it"),
    "an output in an output": (
        f"{SELECT} --out {{t}}/y.json --scores {{t}}/y.json/s", "lies in {t}/y.json, which --out",
    ),
    "an output over an output": (f"{SELECT} --out {{t}}/y/s.json --scores {{t}}/y", "lies in {t}/y, which --scores"),
    "finished work": (f"{SELECT} --runs-dir {{t}}/r --out {{t}}/r/artifacts/select-0/x.json", "which --runs-dir"),
    "the hashes": (f"{SELECT} --runs-dir {{t}}/r --out {{t}}/r/hashes.json", "the same file"),
    "runs among the shards": (
        "select {t}/pools --strategy random --out {t}/y.jsonl --runs-dir {t}/pools/r", "a part of it",
    ),
    "runs in the model": (f"{RATED} --out {{t}}/y.json --runs-dir {{t}}/model", "--model reads"),
    "hashes that are the pool": (
        "select {t}/list/hashes.json --strategy random --out {t}/y.json --runs-dir {t}/list", "POOL reads",
    ),
    "hashes of somebody else": (f"{SELECT} --out {{t}}/y.json --runs-dir {{t}}/list", "hashes.json is there"),
    "what score reuses": (f"{RATED} --reuse {{t}}/scored --out {{t}}/scored/score.json", "a file of {t}/scored"),
    "a shard of the pool": ("select {t}/pools --strategy random --out {t}/pools/new.jsonl", "would become a part"),
    "score into its model": ("score {t}/pool.json --model {t}/model --out {t}/model", "--model reads"),
    "score over its pool": ("score {t}/scored/score.json --model {t}/model --out {t}/scored", "POOL reads"),
    "score next to a folder that it would remove": (
        "score {t}/pool.json --model {t}/model --out {t}/busy", "ledger is there",
    ),
    "score below its model": ("score {t}/pool.json --model {t}/model --out {t}/model/new", "would become a part of it"),
    "score into a file": ("score {t}/pool.json --model {t}/model --out {t}/pool.json", "is a file; name a folder"),
    "score over what is not its own": ("score {t}/pool.json --model {t}/model --out {t}/scored", "score.json is there"),
    "losses into its model": ("losses {t}/pool.json --model {t}/model --out {t}/model", "--model reads"),
    "finetune into its model": ("finetune {t}/pool.json --model {t}/model --out {t}/model", "--model reads"),
    "finetune over its model": ("finetune {t}/pool.json --model {t}/model --method full --out {t}", "--model reads"),
    "merge below its adapter": ("merge {t}/adapter --out {t}/adapter/new", "would become a part of it"),
    "merge into the base that its adapter names": ("merge {t}/adapter --out {t}/model", "the adapter reads"),
    "merge around its adapter": ("merge {t}/adapter --out {t}", "ADAPTER reads"),
    "merge into its adapter": ("merge {t}/adapter --out {t}/adapter", "ADAPTER reads"),
    "merge into its base": ("merge {t}/adapter --model {t}/model --out {t}/model", "--model reads"),
    "evaluate into its model": ("evaluate --model {t}/model --out {t}/model", "--model reads"),
    "evaluate into its data": ("evaluate --model {t}/model --data {t}/pools --out {t}/pools", "--data reads"),
    "evaluate over what is not its own": ("evaluate --model {t}/model --out {t}/own", "results.json is there"),
    "evaluate below its model": ("evaluate --model {t}/model --out {t}/model/new", "would become a part of it"),
    "evaluate into a folder of the same names": ("evaluate --model {t}/model --out {t}/taken", "were not written by"),
    "show over its data": (
        f"{SHOW} --out {{t}}/bench/gsm8k/test.jsonl", "over a file of {t}/bench, which --data reads",
    ),
    "show over its model": (f"{SHOW} --out {{t}}/model/config.json", "--model reads"),
    "show into a folder": (f"{SHOW} --out {{t}}/model", "is a folder; name a file"),
    "grade over its answers": ("grade --answers {t}/own/results.json --out {t}/own", "--answers reads"),
    "grade into a folder of the same names": (
        "grade --answers {t}/answers.jsonl --out {t}/taken", "not written by this command",
    ),
    "regrade over the old results": ("evaluate --regrade {t}/evaluated --out {t}/evaluated", "--regrade reads"),
    "regrade around the old results": ("evaluate --regrade {t}/evaluated/artifacts --out {t}/evaluated", "--regrade"),
    "regrade among the old results": ("evaluate --regrade {t}/evaluated --out {t}/evaluated/new", "a part of it"),
    "regrade over what is not its own": ("evaluate --regrade {t}/evaluated --out {t}/own", "results.json is there"),
    "report over files of the user's": (f"{REPORT} --set name=mine", "report.html is there"),
    "report into a pool": (f"{REPORT} --set name=pools --set pool.path={{t}}/pools", "the recipe reads"),
    "run into a pool": ("run {t}/recipe.yaml --runs-dir {t}/pools/r --set pool.path={t}/pools", "a part of it"),
    "export over another zip": ("export {t}/recipe.yaml --runs-dir {t}/r --out {t}/mine.zip", "is not an export"),
    "export into the model": ("export {t}/recipe.yaml --runs-dir {t}/r --out {t}/model/new", "a part of it"),
    "export into the pool": ("export {t}/recipe.yaml --out {t}/pool.zip --set pool.path={t}/pool.zip", "reads"),
    "export into the runs": ("export {t}/recipe.yaml --runs-dir {t}/own --out {t}/own", "which --out {t}/own writes"),
    "fetch into a file": ("data fetch --out {t}/pool.json", "is a file; name a folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_output_that_is_an_input_or_another_output_is_refused_and_nothing_changes(place, name, monkeypatch):
    monkeypatch.chdir(place)
    (place / "symbolic.json").symlink_to(place / "pool.json")
    (place / "link").symlink_to(place / "model")
    os.link(place / "pool.json", place / "hard.json")
    (place / "pool.zip").write_bytes((place / "pool.json").read_bytes())
    before = state(place)
    arguments, wanted = REFUSED[name]
    result = CliRunner().invoke(app, arguments.format(t=place).split())
    assert isinstance(result.exception, UserError), result.output
    assert wanted.format(t=place) in str(result.exception) and "\n" not in str(result.exception)
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

    outputs = {"out", "scores", "recipe"}
    reads = {"plan", "validate"}
    found = [callback for callback in commands(app) if outputs & set(inspect.signature(callback).parameters)]
    writes = [callback for callback in found if callback.__name__ not in reads]
    assert isinstance(app, typer.Typer) and len(writes) >= 10
    asks = re.compile(r"check_(recipe_)?outputs\(")
    assert [callback.__name__ for callback in writes if not asks.search(inspect.getsource(callback))] == []


def test_hub_ids_words_and_own_unfinished_folders_pass(tmp_path):
    out = tmp_path / "out"
    check_outputs({POOL: ["tatsu-lab/alpaca"], "--model": [None, "chat"]}, stage_folder("--out", out, "score"))
    (out / ".runs").mkdir()
    check_outputs({}, stage_folder("--out", out, "score"))
    (out / "stage.json").write_text("{}")
    (out / "score.json").write_text("{}")
    check_outputs({}, stage_folder("--out", out, "score"), Output("--scores", out / "new" / "s.jsonl"))
    assert (out / "new").is_dir()


def test_a_folder_named_like_a_template_or_a_profile_is_not_read(small_pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("alpaca", "default", "paper-2023"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pool.json").write_bytes(small_pool.read_bytes())
        pool, out = f"{name}/pool.json", f"{name}/subset.json"
        result = CliRunner().invoke(app, ["select", pool, "--strategy", "random", "--out", out])
        assert result.exit_code == 0, result.exception
        check_outputs({"--profile": [name], "--set template": [name]}, Output("--out", tmp_path / name / "x.json"))


def test_an_output_is_written_through_a_symbolic_link(small_pool, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "new" / "subset.json")
    arguments = f"select {small_pool} --strategy random --out {tmp_path}/link.json --runs-dir {tmp_path}/runs"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.exception
    assert (
        len(json.loads((tmp_path / "new" / "subset.json").read_text())) == 8 and (tmp_path / "link.json").is_symlink()
    )


def test_an_unfinished_write_takes_no_name_that_a_person_gives(place, monkeypatch):
    """`out.part` was removed by merge, and overwritten by export and `--show`."""
    for name in ("asked.jsonl.part", "pack.zip.part"):
        (place / name).write_text("mine")
    before = state(place)
    for arguments in (f"{SHOW} --out {{t}}/asked.jsonl", "export {t}/recipe.yaml --runs-dir {t}/r --out {t}/pack.zip"):
        CliRunner().invoke(app, arguments.format(t=place).split())
    after = state(place)
    assert {name: after[name] for name in before} == before


def test_hashes_that_were_torn_are_made_anew_and_a_file_of_the_users_is_not(tmp_path):
    from selectit.store.fingerprint import Hasher

    file, memory = tmp_path / "a.json", tmp_path / "hashes.json"
    file.write_text("{}")
    digest = Hasher(memory).file(file)
    whole = memory.read_text()
    for torn in (whole, whole[:2], whole[:30], "", "\0" * 20, "{}"):
        memory.write_text(torn)
        assert Hasher(memory).file(file) == digest
    for mine in ("[1, 2]", "mine", '{"a": "b"}', '{"a": [1]}', "{ mine"):
        memory.write_text(mine)
        with pytest.raises(UserError, match="does not hold this project's hashes"):
            Hasher(memory)
        assert memory.read_text() == mine


SHORT = "--set max_length=384 --set global_batch_size=4 --set micro_batch_size=4 --set num_train_epochs=1"


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("score", "score {pool} --model {demo}/model --num-rating-prompts 1 --verify 2"),
        ("losses", "losses {pool} --model {demo}/model --verify 2"),
        pytest.param("finetune-lora", f"finetune {{pool}} --model {{demo}}/model {SHORT}", marks=pytest.mark.slow),
    ],
)
def test_everything_that_a_stage_leaves_is_known_before_it_starts(kind, arguments, small_pool, demo, tmp_path):
    out = tmp_path / kind
    words = [*arguments.format(pool=small_pool, demo=demo).split(), "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    written = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert written <= set(stage_folder("--out", out, kind).names or ())
    (out / "stage.json").unlink()
    again = CliRunner().invoke(app, words)
    assert "not written by this command" in str(again.exception)


def test_a_report_that_was_killed_half_way_may_be_written_again(place):
    arguments = REPORT.format(t=place).split()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (place / "t" / "report.json").unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (place / "t" / "report.json").is_file()


def test_a_fetched_text_does_not_replace_a_file_of_another_content(tmp_path):
    (tmp_path / "rating_prompt.txt").write_text("mine")
    result = CliRunner().invoke(app, ["data", "fetch", "rating_prompt.txt", "--out", str(tmp_path)])
    assert "is there and is not the nine rating prompts" in str(result.exception)
    assert (tmp_path / "rating_prompt.txt").read_text() == "mine"
