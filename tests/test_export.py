"""`selectit export`: a pack that stands alone, is the same bytes each time, and is verified where it is unpacked."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile

import pytest
from finished_work import Work, call

from selectit.plan import build
from selectit.recipe import load


@pytest.fixture(scope="module")
def work(tmp_path_factory, demo):
    return Work(tmp_path_factory.mktemp("work"), demo).finish()


def export(work: Work, out, *more, rc: int = 0) -> str:
    return call("export", work.recipe, "--runs-dir", work.runs, "--out", out, *more, rc=rc)


def test_a_pack_holds_all_that_defends_the_table_and_is_verified_elsewhere(work, tmp_path):
    assert "5 files of weights are left out" not in export(work, tmp_path / "pack", "--weights")
    text = export(work, tmp_path / "light.zip")
    assert "4 files of weights are left out" in text and "anonymous" in text
    with zipfile.ZipFile(tmp_path / "light.zip") as archive:
        archive.extractall(tmp_path / "there")
    for folder, verdict in ((tmp_path / "pack", "17 whole"), (tmp_path / "there" / "small", "13 whole, 4 left out")):
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
        told = call("verify", folder / "small")
        assert verdict in told and "each the one in its artifact" in told
        assert {"README.md", "recipe.yaml", "rows.yaml", "pack.json"} <= {path.name for path in folder.iterdir()}
        assert (folder / "templates" / "alpaca.jinja").is_file() and (folder / "small" / "report.html").is_file()
    weights = [path for path in (tmp_path / "there").rglob("*") if path.suffix == ".safetensors"]
    assert not weights and list((tmp_path / "pack").rglob("*.safetensors"))


def test_a_changed_file_of_a_pack_is_found_even_where_weights_are_left_out(work, tmp_path):
    export(work, tmp_path / "pack")
    [first, *_] = (tmp_path / "pack" / "artifacts").glob("evaluate-*")
    (first / "items.jsonl").write_text("{}\n")
    assert "items.jsonl" in call("verify", tmp_path / "pack" / "small", rc=1)


def test_two_exports_are_the_same_bytes_whatever_the_files_times(work, tmp_path):
    export(work, tmp_path / "one.zip")
    for path in work.runs.rglob("*"):
        os.utime(path)
    export(work, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_the_resolved_recipe_plans_the_same_stages(work, tmp_path):
    export(work, tmp_path / "pack")
    packed, own = build(load(tmp_path / "pack" / "recipe.yaml")), build(load(work.recipe))
    assert packed.stages == own.stages and [row.label for row in packed.rows] == [row.label for row in own.rows]


def test_subsets_are_the_row_ids_that_were_trained_on(work, tmp_path):
    export(work, tmp_path / "pack")
    ids = (tmp_path / "pack" / "subsets" / "selectit.txt").read_text().splitlines()
    selected = [
        path for path in work.runs.glob("artifacts/select-*") if '"selectit"' in (path / "stage.json").read_text()
    ]
    messages = (selected[0] / "messages.jsonl").read_text().splitlines()
    assert len(ids) == 4 and sorted(ids) == sorted(json.loads(line)["row_id"] for line in messages)


def test_what_cannot_be_packed_is_refused_and_leaves_nothing(work, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    assert "not an empty folder" in export(work, tmp_path / "mine", rc=1)
    empty = call("export", work.recipe, "--runs-dir", tmp_path / "none", "--out", tmp_path / "a.zip", rc=1)
    assert "nothing is finished" in empty
    path = work.path("evaluate") / "items.jsonl"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"t", b"u", 1))
    try:
        for out in (tmp_path / "bad.zip", tmp_path / "bad"):
            assert "is not the file that its manifest describes" in export(work, out, rc=1)
            assert not out.exists()
    finally:
        path.write_bytes(before)
