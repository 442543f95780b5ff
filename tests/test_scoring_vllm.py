"""vLLM as rater. The real one needs a Python of its own, named by SELECTIT_VLLM_PYTHON; what a user reads where it is
absent needs none."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as parquet
import pytest
import torch
from test_scoring import QUIET, config, expected, oracle, ratings, score  # noqa: F401  (fixtures)
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import ModelConfig, PoolConfig, ScoreConfig, ScoreStage, SelectStage
from selectit.errors import UserError
from selectit.inference.batch import Text
from selectit.inference.load import load_tokenizer
from selectit.inference.vllm_rater import LoadedVllm, longest_text, names_of_gpus, refuse_beyond, settings_of
from selectit.scoring import stage
from selectit.scoring.prompts import read_rating_prompts
from selectit.scoring.rating import Rating
from selectit.scoring.verify import verify
from selectit.selection.stage import run as select
from selectit.selection.strategies.selectit import SelectITSelect
from selectit.tracking import Tracker

PYTHON = os.environ.get("SELECTIT_VLLM_PYTHON")
needs_vllm = pytest.mark.skipif(
    PYTHON is None,
    reason="SELECTIT_VLLM_PYTHON names no interpreter with vLLM (docs/performance.md says how to make one)",
)


@pytest.fixture
def with_vllm(config, monkeypatch) -> ScoreStage:  # noqa: F811
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    return config.model_copy(
        update={"prompts": config.prompts[:2], "backend": "vllm", "vllm_python": PYTHON or "/nowhere/python"}
    )


def subset(config: ScoreStage, folder: Path, out: Path) -> tuple[list[float], list[int], list[int]]:  # noqa: F811
    """Scores, ranks and selected rows."""
    out.mkdir()
    strategy = SelectITSelect(strategy="selectit", ratio=0.25, num_rating_prompts=len(config.prompts))
    selecting = SelectStage(pool=config.pool, select=strategy, prompts=config.prompts, theta=(None,))
    select(selecting, {"score0": folder}, out, Tracker(out, QUIET))
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    return (
        [line["score"] for line in lines],
        [line["rank"] for line in lines],
        [line["row"] for line in lines if line["selected"]],
    )


def assert_same(config: ScoreStage, tmp_path: Path) -> Path:  # noqa: F811
    """Both backends: probabilities, scores, order and subset. Returns: the folder of vLLM's ledger."""
    stock = config.model_copy(update={"backend": "transformers", "vllm_python": None})
    ours, theirs = score(config, tmp_path / "vllm"), score(stock, tmp_path / "transformers")
    np.testing.assert_allclose(ratings(ours, config), ratings(theirs, stock), atol=1e-5)
    mine, other = subset(config, ours, tmp_path / "one"), subset(stock, theirs, tmp_path / "other")
    np.testing.assert_allclose(mine[0], other[0], atol=1e-5)
    assert mine[1:] == other[1:]
    return ours


@needs_vllm
def test_ledger_order_and_subset_are_those_of_transformers_and_verify_states_it(with_vllm, tmp_path):
    folder = assert_same(with_vllm, tmp_path)
    reported = json.loads((folder / "score.json").read_text())
    stock = json.loads((tmp_path / "transformers" / "score.json").read_text())
    assert (reported["rater"], reported["dtype"], reported["device"]) == ("vllm", "float32", "cpu")
    assert reported["engine"].startswith("vllm ") and stock["engine"] is None
    for key in ("num_parameters", "context", "placement", "num_tokens", "num_ratings", "rating_token_ids"):
        assert reported[key] == stock[key], key
    found = verify(with_vllm, folder, 20, "corrected", Tracker(folder, QUIET))
    assert found["rater"] == "vllm" and found["max_probability_difference"] < 1e-5
    assert found["rank_correlation"] == found["subset_overlap"] == 1


@needs_vllm
def test_two_engines_rate_real_rows_as_transformers_does(shared, with_vllm, tmp_path):
    rows = json.loads((shared / "alpaca" / "alpaca_en_demo.json").read_text())
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps(random.Random(1).sample(rows, 24)))
    model = tmp_path / "model"
    shutil.copytree(shared / "models" / "stories260K", model, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
    vocabulary = len(load_tokenizer(ModelConfig(path=str(model))))
    made = LlamaConfig(**shape, vocab_size=vocabulary, max_position_embeddings=512, initializer_range=0.1)
    LlamaForCausalLM(made).save_pretrained(model)  # vLLM has no CPU kernel for the heads of stories260K
    assert_same(
        with_vllm.model_copy(
            update={
                "pool": PoolConfig(path=str(pool)),
                "model": ModelConfig(path=str(model)),
                "prompts": read_rating_prompts(str(shared / "selectit" / "rating_prompt.txt"), "corrected")[:2],
                "max_length": 448,
                "batch_tokens": 800,
                "num_processes": 2,
            }
        ),
        tmp_path,
    )


SCORE = """
import sys
from pathlib import Path
from rich.console import Console
from selectit.config import ScoreStage
from selectit.scoring import ledger, stage
from selectit.tracking import Tracker
ledger.FLUSH_SECONDS = 0
config, out = ScoreStage.model_validate_json(sys.argv[1]), Path(sys.argv[2])
stage.run(config, {}, out, Tracker(out, Console(quiet=True)))
"""


@needs_vllm
def test_kill_minus_nine_leaves_no_process_and_the_next_run_resumes(with_vllm, expected, tmp_path):  # noqa: F811
    config, out = with_vllm.model_copy(update={"batch_tokens": 100}), tmp_path / "killed"  # noqa: F811
    out.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SCORE, config.model_dump_json(), str(out)], cwd=Path(__file__).parents[1]
    )
    while len(list((out / "ledger").glob("part-*.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert children
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    kept = {part.name: part.read_bytes() for part in (out / "ledger").glob("part-*.parquet")}
    before = sum(parquet.read_metadata(out / "ledger" / name).num_rows for name in kept)
    assert 0 < before < 80

    rated: list[int] = []
    real = LoadedVllm._ask
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            LoadedVllm, "_ask", lambda self, engine, batch: rated.append(len(batch.items)) or real(self, engine, batch)
        )
        score(config, out)
    assert sum(rated) == 80 - before
    np.testing.assert_allclose(ratings(out, config), expected[:, :2], atol=1e-5)


@needs_vllm
def test_an_engine_that_is_killed_ends_the_stage_with_a_word_and_keeps_what_is_scored(with_vllm, tmp_path):
    config, seen = with_vllm.model_copy(update={"batch_tokens": 100}), []  # noqa: F811
    real = LoadedVllm._ask

    def killed(self, engine, batch):
        seen.append(batch)
        if len(seen) == 4:
            engine._process.kill()
        return real(self, engine, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="was killed, most likely for memory"):
        patch.setattr(LoadedVllm, "_ask", killed)
        patch.setattr("selectit.scoring.ledger.FLUSH_SECONDS", 0)
        score(config, tmp_path / "out")
    assert list((tmp_path / "out" / "ledger").glob("part-*.parquet"))


@needs_vllm
def test_the_estimate_is_measured_with_the_engine(small_pool, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    common = ["score", str(small_pool), "--model", str(demo / "model"), "--num-rating-prompts", "2", "--estimate"]
    reported = CliRunner().invoke(app, [*common, "--backend", "vllm", "--vllm-python", PYTHON], catch_exceptions=False)
    assert (
        reported.exit_code == 0 and "vllm path" in reported.output and "measured on cpu, one process" in reported.output
    )


def test_a_python_that_is_absent_or_has_no_vllm_is_refused_before_anything_starts(with_vllm):
    for python, message in (
        ("/nowhere/python", r"/nowhere/python cannot be started \(No such file or directory\); name an interpreter"),
        (None, r"has no vLLM; name an interpreter that has it: python3\.11 -m venv ~/vllm"),
    ):
        with pytest.raises(UserError, match=message):
            stage.preflight(with_vllm.model_copy(update={"vllm_python": python}))


def test_the_command_reports_that_vllm_is_absent_and_starts_nothing(small_pool, demo, tmp_path):
    out = tmp_path / "out"
    common = ["score", str(small_pool), "--model", str(demo / "model"), "--out", str(out)]
    reported = CliRunner().invoke(app, [*common, "--backend", "vllm", "--vllm-python", "/nowhere/python"])
    assert reported.exit_code == 1 and not (out / "score.json").exists()
    assert "/nowhere/python cannot be started" in str(reported.exception) + reported.output


def test_settings_that_vllm_has_no_use_for_are_refused(with_vllm):
    with pytest.raises(ValueError, match="vllm_python is used with backend vllm only, and backend is transformers"):
        ScoreConfig(vllm_python="~/vllm/bin/python")
    model = with_vllm.model.model_copy(update={"device_map": "auto", "max_memory": "60GiB"})
    with pytest.raises(UserError, match="no use for the model's max_memory"):
        stage.preflight(with_vllm.model_copy(update={"model": model}))


def test_a_row_longer_than_vllm_takes_is_named_with_the_cure(with_vllm, demo, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for file in (demo / "model").iterdir():
        if file.suffix != ".safetensors":
            (model / file.name).write_bytes(file.read_bytes())
    shape = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**shape, "max_position_embeddings": 64}))
    short = with_vllm.model_copy(update={"model": ModelConfig(path=str(model))})
    assert (longest_text(short), settings_of(short, 1)["max_model_len"]) == (63, 64)
    with pytest.raises(
        UserError, match=r"row \S+ under rating prompt \d has \d+ tokens, and vLLM takes 63 .* at most 63"
    ):
        Rating(short).refuse_long()
    cut = short.model_copy(update={"max_length": 60})
    Rating(cut).refuse_long()
    assert settings_of(cut, 1)["max_model_len"] == 61
    longer = Text(keys=(("a", 0),), ids=np.zeros(50, dtype=np.int32))
    refuse_beyond(50, cut, [longer])
    with pytest.raises(UserError, match="row a under rating prompt 1 has 50 tokens"):
        refuse_beyond(49, cut, [longer])
    refuse_beyond(49, cut, [Text(longer.keys, longer.ids, failure="too_long")])


def test_each_engine_sees_one_gpu_and_the_first_is_the_one_that_the_process_has_taken(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert names_of_gpus() == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert names_of_gpus() == ["1", "2", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert names_of_gpus() == ["6", "7", "4"]


def test_the_numbers_of_one_backend_never_answer_for_the_other(with_vllm, tmp_path):
    """What an earlier ledger must agree in holds the path."""
    from selectit.scoring.reuse import EarlierRatings, basis, digest_of

    stock = with_vllm.model_copy(update={"backend": "transformers", "vllm_python": None})
    folder = score(stock, tmp_path / "stock")
    rating = Rating(stock)
    ids = [digest_of(text.ids) for text in list(rating._texts(0))[:3]]
    for rater, known in (("packed", True), ("vllm", False)):
        earlier = EarlierRatings([folder], basis(rating.rating_ids, "float32", rater, "cpu"))
        assert [answer is not None for answer in earlier.answer(stock.prompts[0], ids)] == [known] * 3
