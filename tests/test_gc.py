"""`selectit gc`: what no given recipe needs is shown, and goes only when it is asked for and nobody works in it."""

from __future__ import annotations

import shutil

import pytest
from filelock import FileLock
from finished_work import Work, call

from selectit.config import PoolConfig
from selectit.data import kept
from selectit.data.pool import read_pool
from selectit.plan.build import build
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.store.runs_folder import Store


@pytest.fixture(scope="module")
def finished(tmp_path_factory, demo):
    """A recipe all of whose stages are needed, and the same with another learning rate under the name old."""
    folder = tmp_path_factory.mktemp("finished")
    Work(folder, demo).finish("name=old", "finetune.learning_rate=1e-5")
    return Work(folder, demo).finish()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "selectit" / "pools"


@pytest.fixture
def both(finished, tmp_path):
    return finished.copy(tmp_path)


@pytest.fixture
def work(both):
    """Without the old report: nobody needs what is behind it."""
    shutil.rmtree(both.runs / "old")
    return both


def gc(work: Work, *more, rc: int = 0) -> str:
    return call("gc", work.recipe, "--runs-dir", work.runs, *more, rc=rc)


def folders(work: Work) -> set[str]:
    return {path.name for path in (work.runs / "artifacts").iterdir()}


def statuses(work: Work) -> set[str]:
    plan = build(load(work.recipe))
    return {state.status for state in inspect(plan, Store(work.runs)).values()}


def test_what_is_not_needed_is_shown_with_its_size_and_stays_without_yes(work):
    before = folders(work)
    text = gc(work)
    assert text.count("finetune-lora-") == 4 and text.count("evaluate-") == 8
    assert "Nothing was removed" in text and folders(work) == before


def test_with_yes_it_goes_and_all_that_the_recipe_needs_stays(work):
    num_before = len(folders(work))
    size = sum(p.stat().st_size for p in (work.runs / "artifacts").rglob("*") if p.is_file())
    text = gc(work, "--yes")
    assert len(folders(work)) == num_before - 12 and statuses(work) == {"done"}
    freed = int(next(line for line in text.splitlines() if "bytes freed" in line).split()[0].replace(",", ""))
    assert freed == size - sum(p.stat().st_size for p in (work.runs / "artifacts").rglob("*") if p.is_file())
    assert "every artifact folder is needed" in gc(work)


def test_what_a_report_was_made_of_is_kept_as_long_as_it_stands(both):
    before = folders(both)
    text = gc(both, "--yes")
    assert "12 folders are kept for the report old alone" in text and "is needed by a given recipe or a report" in text
    assert folders(both) == before
    (both.runs / "old" / "results.csv").write_text((both.runs / "old" / "results.csv").read_text()[:600])
    gc(both, "--yes")  # the record names them too
    assert folders(both) == before


def test_set_is_read_as_run_reads_it(work):
    shutil.rmtree(work.runs / "small")
    set_ = ("--set", "finetune.learning_rate=1e-5")
    offered = gc(work, *set_)
    needed = {now.artifact.path.name for stage, now in work.states.items() if stage.kind == "finetune-lora"}
    assert all(name in offered for name in needed) and "4 folders" not in offered
    gc(work, *set_, "--yes")
    plan = build(load(work.recipe, ["finetune.learning_rate=1e-5"]))
    assert {state.status for state in inspect(plan, Store(work.runs)).values()} == {"done"}


def test_work_of_every_named_recipe_is_kept(work, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(work.recipe.read_text().replace("name: small", "name: other\nfinetune: {learning_rate: 1.0e-5}"))
    assert "every artifact folder is needed" in call("gc", work.recipe, other, "--runs-dir", work.runs)


def test_unfinished_work_of_the_recipe_stays(work):
    """Without its selections the recipe's later fingerprints are not known; what may be its own is kept."""
    kept = {p.name for p in (work.runs / "artifacts").glob("*") if p.name.startswith(("finetune", "evaluate"))}
    needed = {now.artifact.path.name for now in work.states.values()}
    for path in (work.runs / "artifacts").glob("select-*"):
        (path / "manifest.json").unlink()
    (work.path("finetune-lora") / "manifest.json").unlink()
    gc(work, "--yes")
    left = folders(work)
    assert {name for name in needed if not name.startswith("select")} <= left
    assert work.path("finetune-lora").name in left and any(name.startswith("select") for name in left)
    assert len(left & kept) < len(kept)  # what has other settings went all the same


def test_a_folder_that_a_run_works_in_is_not_touched(work):
    [strange, *_] = [p for p in (work.runs / "artifacts").glob("finetune-*") if p.name in gc(work)]
    before = folders(work)
    with FileLock(strange / ".lock"):
        assert "a run is at work in" in gc(work, "--yes", rc=1)
    assert folders(work) == before


def test_checkpoints_that_a_finished_training_left_go_and_the_training_stays(work):
    left = work.path("finetune-lora") / "checkpoints" / "checkpoint-3"
    left.mkdir(parents=True)
    (left / "optimizer.pt").write_bytes(b"x" * 1000)
    assert "checkpoints of a finished training" in gc(work)
    gc(work, "--yes")
    assert not left.parent.exists() and statuses(work) == {"done"}


def test_a_removal_that_was_cut_off_is_finished(work):
    path = work.runs / "artifacts" / ".freed-score-0123456789abcdef"
    shutil.copytree(work.path("score"), path)
    assert "half removed" in gc(work)
    gc(work, "--yes")
    assert not path.exists()


def test_nothing_is_freed_where_it_cannot_be_known_what_is_needed(work, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    text = work.recipe.read_text().replace(work.raw["pool"]["path"], "org/absent")
    (tmp_path / "blocked.yaml").write_text(text)
    before = folders(work)
    assert "nothing is freed" in call("gc", tmp_path / "blocked.yaml", "--runs-dir", work.runs, "--yes", rc=1)
    assert folders(work) == before


def test_a_folder_that_no_stage_wrote_is_left_alone(work):
    own = work.runs / "artifacts"
    for name in ("notes", "score-mine"):
        (own / name).mkdir()
        (own / name / "text.txt").write_text("mine")
    (own / "score-0123456789abcdef").mkdir()
    (own / "score-0123456789abcdef" / "stage.json").write_text("{}")
    text = gc(work, "--yes")
    assert "score-0123456789abcdef" in text and "mine" not in text
    assert [(own / name / "text.txt").read_text() for name in ("notes", "score-mine")] == ["mine", "mine"]
    assert not (own / "score-0123456789abcdef").exists()


def test_parsed_pools_that_no_recipe_reads_are_shown_and_freed(work, cache, monkeypatch, tmp_path):
    monkeypatch.setattr(kept, "SMALLEST_BYTES", 0)
    other = tmp_path / "other.jsonl"
    other.write_text('{"instruction": "Say 1.", "output": "One."}\n')
    read_pool(PoolConfig(path=str(other)))
    [unread] = cache.iterdir()
    read_pool(load(work.recipe).rows[0].config.pool)
    gc(work, "--yes")  # folders, and the unread pool
    [left] = cache.iterdir()
    assert left != unread
