"""`selectit export`: a pack that stands alone, is the same bytes each time, and is verified where it is unpacked."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from finished_work import Work, call

import selectit
from selectit.plan.build import build
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.store.runs_folder import Store

SHIPPED = Path(selectit.__file__).parent


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
        reported = call("verify", folder / "small")
        assert verdict in reported and "each the one in its artifact" in reported
        assert {"README.md", "recipe.yaml", "rows.yaml", "pack.json"} <= {path.name for path in folder.iterdir()}
        assert (folder / "templates" / "alpaca.jinja").is_file() and (folder / "small" / "report.html").is_file()
    weights = [path for path in (tmp_path / "there").rglob("*") if path.suffix == ".safetensors"]
    assert not weights and list((tmp_path / "pack").rglob("*.safetensors"))


def test_the_report_of_a_pack_without_weights_is_made_again_from_its_artifacts(work, demo, tmp_path):
    """A training without its weights would be one to resume, and all numbers after it missing."""
    export(work, tmp_path / "pack")
    pack = tmp_path / "pack"
    for folder in (pack / "inputs" / "models").iterdir():
        shutil.copy(demo / "model" / "model.safetensors", folder)
    before = (pack / "small" / "table.tex").read_bytes()
    recipe = ("recipe.yaml", "--runs-dir", ".")
    with contextlib.chdir(pack):
        reported = call("verify", *recipe)
        assert "each the one in its artifact" in reported and "changed" not in reported
        call("report", *recipe, "-q")
        assert (pack / "small" / "table.tex").read_bytes() == before
        table = pack / "small" / "table.tex"
        table.write_bytes(before.replace(b"25.0", b"52.0"))
        assert "52.0" in next(line for line in call("verify", *recipe, rc=1).splitlines() if "not what" in line)


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
    export(work, tmp_path / "pack", "--weights")
    packed, own = build(load(tmp_path / "pack" / "recipe.yaml")), build(load(work.recipe))
    there, here = (list(inspect(plan, Store(work.runs)).values()) for plan in (packed, own))
    assert [now.fingerprint for now in there] == [now.fingerprint for now in here]
    assert [row.label for row in packed.rows] == [row.label for row in own.rows]


def test_subsets_are_the_row_ids_that_were_trained_on(work, tmp_path):
    export(work, tmp_path / "pack")
    ids = (tmp_path / "pack" / "subsets" / "selectit.txt").read_text().splitlines()
    selected = [
        path for path in work.runs.glob("artifacts/select-*") if '"selectit"' in (path / "stage.json").read_text()
    ]
    messages = (selected[0] / "messages.jsonl").read_text().splitlines()
    assert len(ids) == 4 and sorted(ids) == sorted(json.loads(line)["row_id"] for line in messages)


def test_a_packed_recipe_runs_elsewhere(tmp_path, demo, monkeypatch):
    """Its parents, published results with their profiles, prompts, templates and inputs are in the pack."""
    home = tmp_path / "home"
    for folder in ("recipes/deep", "texts", "data"):
        (home / folder).mkdir(parents=True)
    work = Work(home, demo)
    shutil.copytree(demo / "model", home / "model")
    shutil.copytree(demo / "benchmarks", home / "data" / "benchmarks")
    (home / "texts" / "prompts.txt").write_text("Rate this.\nHow good is it?\n")
    (home / "texts" / "mine.yaml").write_text("benchmarks: {mmlu: {metric: acc, num_fewshot: 0, tasks: [astronomy]}}\n")
    (home / "texts" / "mine.jinja").write_text((SHIPPED / "templates" / "alpaca.jinja").read_text())
    number = {"arm": "a", "benchmark": "mmlu", "metric": "acc", "value": 50.0, "unit": "percent", "table": "1"}
    number |= {"strategy": "random", "profile": "../texts/mine.yaml"}
    (home / "recipes" / "numbers.yaml").write_text(yaml.safe_dump({"source": "mine", "numbers": [number]}))
    raw = {
        **work.raw, "pool": {"path": "../pool.jsonl"}, "model": {"path": "../model"},
        "score": {"rating_prompts": "../texts/prompts.txt"}, "finetune": {"template": "../texts/mine.jinja"},
        "evaluate": {"profile": "../texts/mine.yaml", "data": "../data/benchmarks"},
    }  # fmt: skip
    (home / "recipes" / "base.yaml").write_text(yaml.safe_dump(raw))
    work.recipe = home / "recipes" / "deep" / "child.yaml"
    work.recipe.write_text("name: small\nextends: ../base.yaml\npublished: ../numbers.yaml\n")
    work.finish()
    export(work, tmp_path / "pack", "--weights")
    there = tmp_path / "elsewhere" / "pack"
    there.parent.mkdir()
    shutil.move(tmp_path / "pack", there)
    shutil.rmtree(home)
    monkeypatch.chdir("/")
    assert str(tmp_path) not in (there / "recipe.yaml").read_text() + (there / "rows.yaml").read_text()
    assert "3 rows" in call("validate", there / "recipe.yaml")
    assert {now.status for now in inspect(build(load(there / "recipe.yaml")), Store(there)).values()} == {"done"}
    assert "0 of " in call("run", there / "recipe.yaml", "--runs-dir", there, "--set", "wandb.enabled=false")
    written = there / "recipe-as-written"
    assert {str(p.relative_to(written)) for p in written.rglob("*.yaml")} == {"base.yaml", "deep/child.yaml"}


def test_inputs_that_are_left_out_are_named_with_their_hash(work, tmp_path):
    assert "left out; put them where pack.json names them" in export(work, tmp_path / "pack", "--no-inputs")
    reported = json.loads((tmp_path / "pack" / "pack.json").read_text())["inputs_left_out"]
    pool = Path(work.raw["pool"]["path"])
    assert reported["inputs/pool.jsonl"] == hashlib.sha256(pool.read_bytes()).hexdigest()
    assert not (tmp_path / "pack" / "inputs").exists() and "inputs/models/model/model.safetensors" in reported


def test_arms_whose_names_are_alike_in_a_file_name_keep_their_subsets(tmp_path, demo):
    work = Work(tmp_path, demo)
    work.raw["arms"] = {
        "a/b": {"select": {"strategy": "random"}},
        "a\\b": {"select": {"strategy": "length", "unit": "chars"}},
        "A:b": {"select": {"strategy": "length", "unit": "words"}},
        "../../x": {"select": {"strategy": "random_rest", "rest_of": "a/b"}},
        "名前": {"select": {"strategy": "full"}},
    }
    work.raw["baseline"] = "a/b"
    work.write(work.raw)
    work.finish()
    export(work, tmp_path / "pack")
    folder = tmp_path / "pack" / "subsets"
    with (folder / "subsets.csv").open(newline="") as f:
        of = {line["row"]: line for line in csv.DictReader(f)}
    assert set(of) == set(work.raw["arms"])
    assert {path.name for path in folder.iterdir()} == {"subsets.csv", *(line["file"] for line in of.values())}
    assert len({line["file"].lower() for line in of.values()}) == 5
    longest = [f"row{i}" for i in range(19, 15, -1)]
    assert (folder / of["a\\b"]["file"]).read_text().split() == longest
    assert len((folder / of["名前"]["file"]).read_text().split()) == 20


def test_a_report_that_was_changed_by_hand_is_written_again_before_it_is_packed(work, tmp_path):
    table = work.runs / "small" / "table.tex"
    before = table.read_text()
    table.write_text(before.replace("25.0", "52.0"))
    assert "table.tex was changed since it was written; it is written again" in export(work, tmp_path / "pack")
    assert (tmp_path / "pack" / "small" / "table.tex").read_text() == before
    (work.runs / "small" / "mine.txt").write_text("not of the report")
    export(work, tmp_path / "again")
    assert not (tmp_path / "again" / "small" / "mine.txt").exists()


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
