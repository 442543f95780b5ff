"""A subset becomes a data set with a card that states where it is from; it is uploaded only when it is asked to be."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from typer.testing import CliRunner

from selectit.audit.data_set import card, is_data_set, selection_of
from selectit.cli.app import app
from selectit.errors import UserError
from selectit.store.artifact import Artifact


def command(*words: Any) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def selected(tmp_path, small_pool, monkeypatch):
    """The longest 8 of 40 rows, selected in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    text = command("select", small_pool, "--strategy", "length", "--set", "unit=words", "--out", "best.json")
    return SimpleNamespace(pool=small_pool, file=Path("best.json"), folder=Path(text.split("selection: ")[1].strip()))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that is a folder: what was uploaded lies in `<hub>/<repository>`."""
    calls: list[dict[str, Any]] = []

    class Hub:
        def create_repo(self, repository, **options):
            calls.append({"repository": repository, **options})

        def upload_folder(self, repo_id, folder_path, repo_type, **options):
            calls.append({"repository": repo_id, "repo_type": repo_type})
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id, dirs_exist_ok=True)
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("selectit.store.hub.HfApi", Hub)
    monkeypatch.setattr("selectit.store.hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("selectit.store.hub.get_token", lambda: "t")
    return SimpleNamespace(folder=tmp_path / "hub", calls=calls)


def parts(folder: Path) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card."""
    _, metadata, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(metadata), body


def test_without_push_a_folder_is_written_and_nothing_is_sent(selected, monkeypatch):
    monkeypatch.setattr("selectit.store.hub.HfApi", lambda: pytest.fail("the hub was called"))
    text = command("publish", selected.file, "--out", "shared")
    assert "nothing was uploaded; --push USER/NAME does" in text and "data set: shared" in text
    assert sorted(path.name for path in Path("shared").iterdir()) == ["README.md", "train.json"]
    assert Path("shared/train.json").read_bytes() == selected.file.read_bytes()
    metadata, body = parts(Path("shared"))
    assert metadata["size_categories"] == ["n<1K"] and "license" not in metadata and "selectit" in metadata["tags"]
    whole = json.loads(selected.pool.read_text())
    rows = json.loads(selected.file.read_text())
    shortest = min(len(row["output"].split()) for row in rows)
    assert f"# {len(rows)} of {len(whole)} rows of pool.json, selected by selectit" in body
    assert f"| selected | {len(rows)} of {len(whole)} rows (20.0%), strategy length |" in body
    assert f"| lowest selected score | {shortest} |" in body
    assert f"pool.json, sha256 {hashlib.sha256(selected.pool.read_bytes()).hexdigest()}" in body
    assert "unknown: no card with a licence" in body and '"unit": "words"' in body
    assert str(selected.pool.parent) not in Path("shared/README.md").read_text(), "a path of this machine"


def test_datasets_loads_the_folder_in_every_format_that_it_is_written_in(selected):
    rows = json.loads(selected.file.read_text())
    for number, words in enumerate(([selected.file], [selected.folder], [selected.folder, "--as", "messages"])):
        command("publish", *words, "--out", f"set{number}")
        found = load_dataset(f"set{number}", split="train", cache_dir="cache").to_list()
        assert len(found) == len(rows)
        if "--as" in words:
            assert [row["messages"][1]["content"] for row in found] == [row["output"] for row in rows]
            ids = [json.loads(line) for line in (selected.folder / "scores.jsonl").read_text().splitlines()]
            assert [row["id"] for row in found] == [line["row_id"] for line in ids if line["selected"]]
            assert "| format | messages, with the id of each row |" in parts(Path(f"set{number}"))[1]
        else:
            assert found == rows


def test_push_uploads_a_data_set_and_an_edited_card_as_it_stands(selected, hub):
    assert "published: https://hub/me/best" in command("publish", selected.file, "--push", "me/best")
    assert hub.calls[0] == {"repository": "me/best", "private": True, "exist_ok": True, "repo_type": "dataset"}
    assert hub.calls[1]["repo_type"] == "dataset"
    assert (hub.folder / "me/best/train.json").read_bytes() == selected.file.read_bytes()
    assert not Path("dataset-best").exists()
    command("publish", selected.file)
    text = Path("dataset-best/README.md").read_text()
    Path("dataset-best/README.md").write_text(text.replace("# 8 of", "# Mine: 8 of"))
    assert is_data_set(Path("dataset-best"))
    command("publish", "dataset-best", "--push", "me/edited", "--no-private")
    assert "# Mine: 8 of" in (hub.folder / "me/edited/README.md").read_text()
    assert hub.calls[2]["private"] is False
    with pytest.raises(UserError, match=r"dataset-best is not empty; .*publish dataset-best --push"):
        command("publish", selected.file)


def test_offline_nothing_is_written_or_sent(selected):
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        command("publish", selected.file, "--push", "me/best", "--out", "shared")
    assert not Path("shared").exists()


def test_the_licence_is_that_of_the_card_next_to_the_source(selected):
    (selected.pool.parent / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A pool\n")
    command("publish", selected.file, "--out", "shared")
    metadata, body = parts(Path("shared"))
    assert metadata["license"] == "cc-by-4.0"
    assert "| licence of the source | cc-by-4.0 (the card next to it) |" in body


def test_a_pool_of_the_hub_is_named_with_its_commit_and_licence(selected, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = tmp_path / "cache" / "datasets--acme--pool" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    monkeypatch.setattr(
        "selectit.audit.data_set.try_to_load_from_cache",
        lambda name, file, revision, repo_type: str(
            tmp_path / "cache" / f"{repo_type}s--{name.replace('/', '--')}" / "snapshots" / revision / file
        ),
    )
    manifest = json.loads((selected.folder / "manifest.json").read_text())
    manifest["config"]["pool"] |= {"path": "acme/pool", "name": "de"}
    manifest["identity"]["config"]["pool"]["path"] = {"hub": "acme/pool", "revision": commit}
    text = card(Artifact(selected.folder, manifest), None, "train.json")
    assert yaml.safe_load(text.split("---\n")[1])["source_datasets"] == ["acme/pool"]
    assert "license: cc-by-nc-4.0" in text and "(its card on the hub)" in text
    assert f"[acme/pool](https://huggingface.co/datasets/acme/pool), commit {commit}, name de, split train" in text


def test_the_rater_is_named_with_its_sha256(small_pool, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--model", demo / "model", "--set", "num_rating_prompts=2", "--out", "best.json", "-q"]
    command("select", small_pool, *words)
    command("publish", "best.json")
    _, body = parts(Path("dataset-best"))
    [score] = Path("runs/artifacts").glob("score-*/manifest.json")
    named = json.loads(score.read_text())["identity"]["config"]["model"]["path"]["sha256"]
    assert f"| rated with | model, sha256 {named} |" in body and str(demo) not in body


def test_what_was_not_selected_here_or_was_changed_is_refused(selected, small_pool, tmp_path):
    with pytest.raises(UserError, match=r"no selection in runs wrote .*pool.json as it is; name its folder"):
        selection_of(small_pool, [Path("runs")])
    with pytest.raises(UserError, match="does not exist"):
        selection_of(Path("nothing.json"), [Path("runs")])
    with pytest.raises(UserError, match=r"--base: that is of an adapter or a model"):
        command("publish", selected.file, "--base", "acme/tiny")
    with pytest.raises(UserError, match=r"--as: that is of a subset"):
        command("publish", tmp_path, "--as", "messages")
    (selected.folder / "subset.json").write_text("[]")
    with pytest.raises(UserError, match="was changed after it was written; select again"):
        command("publish", selected.folder)
