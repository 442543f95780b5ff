"""`selectit verify`: what was changed behind a table is named, and what cannot be proven is said."""

from __future__ import annotations

import json
import shutil

import pytest
from finished_work import Work, call


@pytest.fixture
def work(tmp_path, demo):
    return Work(tmp_path, demo).finish()


def verify(work: Work, rc: int = 0) -> str:
    return call("verify", work.recipe, "--runs-dir", work.runs, rc=rc)


def test_a_whole_table_is_whole_and_every_number_is_counted(work):
    text = verify(work)
    assert "17 artifacts: 17 whole" in text
    assert "30 numbers, each the one in its artifact" in text  # value, stderr and num_items of 2 x (1 + 2 + 2)


def test_a_copied_folder_is_verified_where_it_lies(work, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(work.runs, elsewhere)
    shutil.rmtree(work.runs)
    assert "whole" in call("verify", elsewhere / "small")
    assert call("verify", elsewhere) == call("verify", elsewhere / "small")


CHANGES = {
    "a byte of the weights": ("finetune-lora", "adapter/adapter_model.safetensors", lambda b: b[:-1] + b"]", "changed"),
    "a truncated file": ("evaluate", "items.jsonl", lambda b: b[:-5], "62 bytes, 67 when it was written"),
    "a log that is not content": ("finetune-lora", "training.json", lambda b: b.replace(b"12", b"13"), "changed"),
    "a lost file": ("score", "score.json", lambda b: None, "missing"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_named(work, name):
    kind, file, change, wanted = CHANGES[name]
    path = work.path(kind) / file
    after = change(path.read_bytes())
    path.unlink() if after is None else path.write_bytes(after)
    text = call("verify", work.runs / "small", rc=1)
    [line] = [line for line in text.splitlines() if file in line]
    assert wanted in line and work.path(kind).name in line
    assert wanted in call("verify", work.path(kind), rc=1)


def test_an_extra_file_is_told_and_one_among_weights_counts_as_a_change(work):
    (work.path("score") / "verification.json").write_text("{}")  # made later, and no part of what was made
    assert "verification.json" not in call("verify", work.runs / "small")
    (work.path("score") / "notes.txt").write_text("mine")
    assert "notes.txt" in call("verify", work.runs / "small")
    (work.path("finetune-lora") / "adapter" / "more.json").write_text("{}")
    assert "what later stages read is not what the manifest says" in call("verify", work.runs / "small", rc=1)


def test_a_number_that_is_not_its_artifacts_is_named(work):
    table = work.runs / "small" / "results.csv"
    table.write_text(table.read_text().replace("acc,0.25,", "acc,0.3,", 1))
    text = call("verify", work.runs / "small", rc=1)
    assert "1 places differ" in text and "0.3 " in text and "mmlu" in text


def test_a_mean_that_does_not_follow_is_found_where_the_recipe_is_named(work):
    table = work.runs / "small" / "results.csv"
    lines = table.read_text().splitlines()
    at = lines[0].split(",").index("row_mean")
    cells = lines[1].split(",")
    table.write_text("\n".join([lines[0], ",".join([*cells[:at], "0.99", *cells[at + 1 :]]), *lines[2:]]) + "\n")
    assert "only where the recipe is named" in call("verify", work.runs / "small")
    assert "row_mean" in verify(work, rc=1)


def test_a_table_of_an_older_recipe_is_not_the_recipes(work):
    text = call("verify", work.recipe, "--runs-dir", work.runs, "--set", "finetune.lora.r=4", rc=1)
    assert "fingerprint" in text


def test_weights_swapped_between_folders_do_not_pass(work):
    """A whole folder in the place of another: its manifest is sound, and what was made from it says otherwise."""
    one, other = work.path("finetune-lora", 0), work.path("finetune-lora", 1)
    shutil.rmtree(one)
    shutil.copytree(other, one)
    assert f"it was made from {one.name} with content" in call("verify", work.runs / "small", rc=1)


def test_an_older_manifest_is_said_to_be_not_verifiable(work):
    path = work.path("score") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["hashes"]
    path.write_text(json.dumps(manifest))
    text = call("verify", work.runs / "small")
    assert "16 whole, 1 not verifiable" in text and "size only" in text


def test_what_is_no_result_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no results.csv" in call("verify", tmp_path / "empty", rc=1)
    assert "does not exist" in call("verify", tmp_path / "absent", rc=1)


def test_hashes_of_files_are_no_part_of_a_fingerprint(work):
    manifest = json.loads((work.path("score") / "manifest.json").read_text())
    assert set(manifest["hashes"]) == set(manifest["files"]) and "hashes" not in manifest["identity"]
