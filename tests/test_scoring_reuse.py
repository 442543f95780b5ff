"""What a finished ledger of the same rater holds is not rated again, and comes out as if it had been."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from selectit.config import ModelConfig, PoolConfig, ScoreStage, WandbConfig
from selectit.data.pool import read_pool
from selectit.inference.loaded import FittingRater
from selectit.plan.graph import Stage, alone
from selectit.run.engine import run_plan
from selectit.run.stage_runner import Session
from selectit.scoring.ledger import read_ratings
from selectit.scoring.prompts import read_rating_prompts
from selectit.scoring.reuse import EarlierRatings
from selectit.store.runs_folder import Store

PROMPTS = read_rating_prompts("default", "corrected")


@pytest.fixture
def pool(demo, tmp_path):
    rows = json.loads((demo / "pool.json").read_text())

    def write(name: str, wanted: slice) -> PoolConfig:
        path = tmp_path / name
        path.write_text(json.dumps(rows[wanted]))
        return PoolConfig(path=str(path))

    return write


@pytest.fixture
def rated(monkeypatch):
    """Numbers of the rating prompts of everything that a model was asked."""
    seen: list[int] = []
    real = FittingRater.read

    def counted(self, batch):
        seen.extend(prompt for text in batch.items for _, prompt in text.keys)
        return real(self, batch)

    monkeypatch.setattr(FittingRater, "read", counted)
    return seen


def score(config: ScoreStage, runs: Path, reuse=()) -> tuple[np.ndarray, dict]:
    stage = Stage("score", config)
    session = Session(Store(runs, reuse=reuse), Console(quiet=True), WandbConfig(enabled=False), "test")
    artifact = run_plan(alone(stage), session)[stage].artifact
    ids = [row.row_id for row in read_pool(config.pool)]
    found = read_ratings(artifact.path / "ledger.parquet", ids, range(len(config.prompts))).probabilities
    return found, json.loads((artifact.path / "score.json").read_text()) | {"name": artifact.path.name}


def test_a_grown_pool_rates_only_its_new_rows_and_equals_a_fresh_run(pool, demo, tmp_path, rated):
    base = dict(model=ModelConfig(path=str(demo / "model")), prompts=PROMPTS[:2])
    _, small = score(ScoreStage(pool=pool("small.json", slice(0, 30)), **base), tmp_path / "runs")
    assert (small["num_reused"], len(rated)) == (0, 60)
    rated.clear()
    grown = ScoreStage(pool=pool("grown.json", slice(10, 40)), **base)
    found, reported = score(grown, tmp_path / "runs")
    assert len(rated) == 2 * 10
    assert reported["num_reused"] == 2 * 20 and reported["reused_from"] == {small["name"]: 40}
    assert reported["num_ratings"] == 60
    fresh, _ = score(grown, tmp_path / "fresh")
    np.testing.assert_allclose(found, fresh, atol=1e-6, rtol=1e-5)


def test_one_more_rating_prompt_rates_only_that_prompt(pool, demo, tmp_path, rated):
    base = dict(model=ModelConfig(path=str(demo / "model")), pool=pool("pool.json", slice(0, 12)))
    score(ScoreStage(**base, prompts=PROMPTS[:2]), tmp_path / "runs")
    rated.clear()
    more = ScoreStage(**base, prompts=(PROMPTS[2], *PROMPTS[:2]))
    found, reported = score(more, tmp_path / "runs")
    assert rated == [0] * 12 and reported["num_reused"] == 24
    np.testing.assert_allclose(found, score(more, tmp_path / "fresh")[0], atol=1e-6, rtol=1e-5)


def test_another_max_length_rates_only_the_texts_that_it_cuts(pool, demo, tmp_path, rated):
    base = dict(model=ModelConfig(path=str(demo / "model")), pool=pool("p.json", slice(0, 40)), prompts=PROMPTS[:1])
    score(ScoreStage(**base), tmp_path / "runs")
    rated.clear()
    _, reported = score(ScoreStage(**base, max_length=64), tmp_path / "runs")
    emptied = reported["failures"]["no_response_token"]  # of whose response nothing is left
    assert emptied > 0 and 0 < reported["num_truncated"] - emptied == len(rated) < 40
    assert reported["num_reused"] == 40 - reported["num_truncated"]


def test_other_weights_or_another_dtype_take_nothing_over(pool, demo, tmp_path, rated):
    base = dict(pool=pool("pool.json", slice(0, 8)), prompts=PROMPTS[:1])
    score(ScoreStage(**base, model=ModelConfig(path=str(demo / "model"))), tmp_path / "runs")
    score(ScoreStage(**base, model=ModelConfig(path=str(demo / "model"), dtype="bfloat16")), tmp_path / "runs")
    other = tmp_path / "other"
    shutil.copytree(demo / "model", other)
    weights = load_file(other / "model.safetensors")
    weights["lm_head.weight" if "lm_head.weight" in weights else "model.embed_tokens.weight"] *= 1.5
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    _, reported = score(ScoreStage(**base, model=ModelConfig(path=str(other))), tmp_path / "runs")
    assert len(rated) == 24 and reported["num_reused"] == 0
    rated.clear()
    # "auto" is float32 on this device: the same rater under another word
    same = ModelConfig(path=str(demo / "model"), dtype="float32")
    assert score(ScoreStage(**base, model=same), tmp_path / "runs")[1]["num_reused"] == 8
    assert not rated


def test_a_ledger_that_was_damaged_since_answers_for_nothing(pool, demo, tmp_path, rated):
    base = dict(model=ModelConfig(path=str(demo / "model")), prompts=PROMPTS[:1])
    _, reported = score(ScoreStage(pool=pool("a.json", slice(0, 6)), **base), tmp_path / "runs")
    with (tmp_path / "runs" / "artifacts" / reported["name"] / "ledger.parquet").open("ab") as f:
        f.write(b"x")
    _, reported = score(ScoreStage(pool=pool("b.json", slice(0, 7)), **base), tmp_path / "runs")
    assert reported["num_reused"] == 0


def test_the_score_command_reuses_ratings_of_a_runs_folder_and_of_an_earlier_out(small_pool, demo, tmp_path, rated):
    from typer.testing import CliRunner

    from selectit.cli.app import app

    def run(out: str, prompts: int, *reuse: str) -> str:
        options = [option for folder in reuse for option in ("--reuse", folder)]
        arguments = ["score", str(small_pool), "--model", str(demo / "model"), "--out", str(tmp_path / out)]
        result = CliRunner().invoke(app, [*arguments, "--num-rating-prompts", str(prompts), *options])
        assert result.exit_code == 0, result.output
        return result.output

    run("first", 1)
    rated.clear()
    output = run("second", 2, str(tmp_path / "first"))
    assert rated == [1] * 40 and "num_reused 40" in output
    shutil.copytree(tmp_path / "second", tmp_path / "runs" / "artifacts" / "score-copied")
    rated.clear()
    run("third", 2, str(tmp_path / "runs"))
    assert not rated
    table = parquet.read_table(tmp_path / "third" / "ledger.parquet")
    assert set(table["taken_from"].to_pylist()) == {"score-copied"}
    bad = CliRunner().invoke(
        app, ["score", str(small_pool), "--model", str(demo / "model"), "--out", str(tmp_path / "x"), "--reuse", "/"]
    )
    assert "--reuse /: neither manifest.json nor artifacts/" in str(bad.exception)


def test_ratings_of_the_padded_path_under_its_former_name_are_reused(pool, demo, tmp_path):
    config = ScoreStage(
        pool=pool("a.json", slice(0, 4)), model=ModelConfig(path=str(demo / "model")), prompts=PROMPTS[:1]
    )
    _, reported = score(config, tmp_path / "runs")
    folder = tmp_path / "runs" / "artifacts" / reported["name"]
    record = folder / "score.json"
    digests = parquet.read_table(folder / "ledger.parquet")["digest"].to_pylist()
    for named, rater, known in (("stock", "padded", True), ("padded", "padded", True), ("packed", "padded", False)):
        record.write_text(json.dumps(reported | {"rater": named}))
        wanted = {key: reported[key] for key in ("rating_token_ids", "dtype", "device")} | {"rater": rater}
        found = EarlierRatings([folder], wanted).answer(config.prompts[0], digests)
        assert [answer is not None for answer in found] == [known] * 4
