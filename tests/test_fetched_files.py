"""`fetch:NAME` in a recipe: validated without a network, fetched when it is first read, checked by its sha256."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml
from finished_work import call

from selectit.config import PoolConfig
from selectit.data import fetch, made_pools
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.recipe.load import load

MEDMCQA = {
    "id": "q1", "question": "Which is a bone?", "cop": 1,
    "opa": "Liver", "opb": "Femur", "opc": "Retina", "opd": "Aorta",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home folder without a cache, and a network that answers nobody."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def refuse(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tmp_path / "home"


@pytest.fixture
def recipe(demo, small_pool, tmp_path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({
        "name": "fetched", "pool": {"path": str(small_pool)}, "model": {"path": str(demo / "model")},
        "score": {"rating_prompts": "fetch:rating_prompt.txt"}, "baseline": "selectit",
        "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks"), "benchmarks": ["gsm8k"]},
        "arms": {"selectit": {"select": {"strategy": "selectit", "num_rating_prompts": 9}}},
    }))  # fmt: skip
    return path


def test_a_recipe_with_a_file_that_is_not_fetched_yet_validates_and_its_plan_has_the_one_command(recipe, home):
    text = call("validate", recipe)
    assert "rating_prompt.txt is fetched when the recipe is first planned or run" in text and "1 rows" in text
    folder = home / ".cache" / "selectit" / "fetched"
    with pytest.raises(UserError) as error:
        build(load(recipe))
    assert f"selectit data fetch rating_prompt.txt --out {folder};" in str(error.value)
    assert f"copy the file to {folder / 'rating_prompt.txt'} here" in str(error.value)
    assert not folder.exists() or not list(folder.iterdir())


def test_what_is_not_fetched_yet_is_checked_by_its_number_of_lines(recipe):
    text = call("validate", recipe, "--set", "arms.selectit.select.num_rating_prompts=10", rc=1)
    assert "select.num_rating_prompts is 10" in text and "has 9 rating prompts" in text
    text = call("validate", recipe, "--set", "score.rating_prompts=fetch:alpaca_eval.txt", rc=1)
    assert "rating prompts fetch:alpaca_eval.txt: they are in rating_prompt.txt" in text


def test_an_unknown_name_is_refused_with_those_that_are_known(recipe):
    text = call("validate", recipe, "--set", "score.rating_prompts=fetch:rating_prompts.txt", rc=1)
    assert "score.rating_prompts: fetch:rating_prompts.txt is not known; allowed are rating_prompt.txt, " in text
    assert "Did you mean 'rating_prompt.txt'?" in text


def test_the_authors_rating_prompts_are_fetched_on_first_use_and_checked(recipe, home, shared, monkeypatch):
    right = (shared / "selectit" / "rating_prompt.txt").read_bytes()
    answers = [b"other words\n" * 9, right]

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def read(self):
            return answers.pop(0)

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Answer())
    with pytest.raises(UserError, match="nothing was written"):
        build(load(recipe))
    [score] = [stage for stage in build(load(recipe)).stages if stage.kind == "score"]
    assert score.config.prompts[0] == f"{right.decode().splitlines()[0]}\n\n" and len(score.config.prompts) == 9
    cached = home / ".cache" / "selectit" / "fetched" / "rating_prompt.txt"
    assert cached.read_bytes() == right and not answers and [p.name for p in cached.parent.iterdir()] == [cached.name]
    assert build(load(recipe)).stages  # from the cache
    cached.write_text("changed by hand\n")
    answers.append(right)
    assert build(load(recipe)).stages and cached.read_bytes() == right


def test_a_pool_is_made_when_its_content_is_first_asked_for(recipe, tmp_path, home, monkeypatch):
    rows = [{"conversations": ["Hi?", "Hello.", "Bye?", "Ciao."]}, {"conversations": ["Two?", "2.", "More?"]}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = []

    def download(*args, **settings):
        asked.append((args, settings))
        return str(tmp_path / "train.jsonl")

    pool = ("--set", "pool={path: fetch:lima.jsonl}", "--set", "score.rating_prompts=default")
    assert "lima.jsonl is fetched when" in call("validate", recipe, *pool) and not asked
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    text = call("plan", recipe, *pool, "--runs-dir", tmp_path / "runs")
    assert "blocked" not in text and asked == [
        (("GAIR/lima", "train.jsonl"), {"repo_type": "dataset", "revision": "main"})
    ]
    made = home / ".cache" / "selectit" / "fetched" / "lima.jsonl"
    assert [row.response for row in read_pool(PoolConfig(path=str(made)))] == ["Hello.", "2."]
    assert [len(row.messages) for row in read_pool(PoolConfig(path=str(made)))] == [4, 2]
    call("plan", recipe, *pool, "--runs-dir", tmp_path / "runs")
    assert len(asked) == 1


def test_a_pool_that_cannot_be_made_blocks_its_stages_with_the_one_command(recipe, tmp_path, home, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("gated repository\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    pool = ("--set", "pool={path: fetch:lima.jsonl}", "--set", "score.rating_prompts=default")
    text = call("plan", recipe, *pool, "--runs-dir", tmp_path / "runs")
    folder = home / ".cache" / "selectit" / "fetched"
    assert "lima.jsonl: the data set GAIR/lima could not be read (gated repository)" in text
    assert f"selectit data fetch lima.jsonl --out {folder}" in text
    assert not folder.exists() or not list(folder.iterdir())


def dataset(folder: Path, rows: list[dict]) -> str:
    (folder / "data").mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet")
    return str(folder)


def make(name: str, dataset: str, tmp_path: Path, monkeypatch, **changes) -> list[dict]:
    from dataclasses import replace

    changed = replace(made_pools.POOLS[name], dataset=dataset, revision=None, **changes)
    monkeypatch.setitem(made_pools.POOLS, name, changed)
    path = fetch.fetch(name, tmp_path / "out")
    assert read_pool(PoolConfig(path=str(path)))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_medical_question_is_asked_as_it_will_be_and_answered_by_letter_and_option(tmp_path, monkeypatch):
    [row] = make("medmcqa_train.jsonl", dataset(tmp_path / "med", [MEDMCQA]), tmp_path, monkeypatch)
    assert row["instruction"] == (
        "Question: Which is a bone?\n\nOptions:\nA. Liver\nB. Femur\nC. Retina\nD. Aorta\n\nAnswer:"
    )
    assert row["output"] == "B. Femur"


def test_a_medical_question_without_an_answer_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="question q1: cop is -1; it must be 0, 1, 2 or 3"):
        make("medmcqa_train.jsonl", dataset(tmp_path / "med", [{**MEDMCQA, "cop": -1}]), tmp_path, monkeypatch)
    assert not list((tmp_path / "out").iterdir())


def test_problems_and_sentence_pairs_become_instructions(tmp_path, monkeypatch):
    code = dataset(tmp_path / "code", [{"problem": "Add.", "solution": "a + b", "seed": "x"}])
    assert make("magicoder_oss.jsonl", code, tmp_path, monkeypatch) == [{"instruction": "Add.", "output": "a + b"}]
    pair = dataset(tmp_path / "pair", [{"translation": {"de": "Guten Tag.", "en": "Good day."}}])
    made = make("alma_parallel.jsonl", pair, tmp_path, monkeypatch, configs=(None,))
    assert made == [
        {"instruction": "Translate this from German to English:\nGerman: Guten Tag.\nEnglish:", "output": "Good day."},
        {"instruction": "Translate this from English to German:\nEnglish: Good day.\nGerman:", "output": "Guten Tag."},
    ]


def test_a_path_of_a_known_file_that_is_not_there_is_refused_with_the_right_command(recipe, tmp_path):
    text = call("validate", recipe, "--set", f"score.rating_prompts={tmp_path}/data/rating_prompt.txt", rc=1)
    assert "write fetch:rating_prompt.txt, or: selectit data fetch rating_prompt.txt --out" in text
    assert f"{tmp_path}/data" in text.replace("\n", "")


def test_a_fetched_file_is_read_from_a_copy_of_the_cache(recipe, home, shared):
    """A node without internet shares no home folder: the file is carried over."""
    folder = home / ".cache" / "selectit" / "fetched"
    folder.mkdir(parents=True)
    shutil.copyfile(shared / "selectit" / "rating_prompt.txt", folder / "rating_prompt.txt")
    assert build(load(recipe)).stages
