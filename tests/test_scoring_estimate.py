"""The price of rating a pool, before it is rated."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from test_scoring_paths import MIXED, PACKED, RATING_IDS, STOCK, texts
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import ModelConfig, PoolConfig, ScoreStage
from selectit.cost.batch_flops import Matrices, batch_flops, prefix_flops
from selectit.cost.score_estimate import price, stated
from selectit.errors import UserError
from selectit.inference import kernels
from selectit.inference.batch import Batch, common_prefix
from selectit.inference.rater import make_rater


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [(PACKED["grouped queries"], 0.01), (PACKED["tied embeddings"], 0.01), (STOCK["bias"], 0.01),
     (STOCK["not of the LLaMA family"], 0.01)],
)  # fmt: skip
def test_counted_operations_are_those_that_torch_counts(make, tolerance, monkeypatch):
    monkeypatch.setattr(kernels, "_ONEDNN", False)  # torch counts its own layers, not those of oneDNN
    monkeypatch.setattr(kernels, "QUERY_BLOCK", 1)  # a block multiplies what it then masks
    model, rows = make().requires_grad_(False), texts([*MIXED, 150, 90, 120], prefix=30)
    rater = make_rater(model, RATING_IDS)
    prefix = () if rater.pads else common_prefix(rows)
    batch, matrices = Batch(rows, prefix), Matrices.of(model)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rater.rate(batch)
    counted = batch_flops(matrices, batch, rater.pads) + (0 if rater.pads else prefix_flops(matrices, prefix))
    assert counted == pytest.approx(counter.get_total_flops(), rel=tolerance)


def test_the_shape_of_a_model_without_weights_is_that_of_the_model():
    model = PACKED["tied embeddings"]()
    with torch.device("meta"):
        skeleton = type(model)(model.config)
    assert Matrices.of(skeleton) == Matrices.of(model)


def test_the_estimate_counts_what_the_run_then_rates(small_pool, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no runs folder offers its ratings
    rows = json.loads(small_pool.read_text())
    small_pool.write_text(json.dumps([*rows, *rows[:5]]))
    common = ["score", str(small_pool), "--model", str(demo / "model"), "--num-rating-prompts", "2"]
    first = CliRunner().invoke(app, [*common[:-1], "1", "--out", str(tmp_path / "first")], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    result = CliRunner().invoke(
        app, [*common, "--estimate", "--reuse", str(tmp_path / "first")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "45 rows, 2 rating prompts: 90 ratings; 40 distinct texts to rate, 40 taken over" in result.output
    assert "measured on cpu" in result.output

    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")),
        prompts=tuple(json.loads((tmp_path / "first" / "score.json").read_text())["prompts"]),
    )  # fmt: skip
    priced = price(config)
    ledger = json.loads((tmp_path / "first" / "score.json").read_text())
    assert (priced.num_records, priced.num_texts) == (ledger["num_ratings"], 40)
    assert 0 < priced.num_positions < priced.num_tokens < ledger["num_tokens"]


def test_another_machine_is_priced_from_the_configuration_alone(small_pool, demo, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(demo / "model", bare)
    (bare / "model.safetensors").write_bytes(b"cannot be loaded")
    arguments = [
        "score",
        str(small_pool),
        "--model",
        str(bare),
        "--estimate",
        "--tflops",
        "989",
        "--utilisation",
        "0.4",
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "stated, not measured: 40% of 989 TFLOP/s" in result.output
    half = CliRunner().invoke(app, arguments[:-2])
    assert "--tflops and --utilisation are given together" in str(half.exception)
    with pytest.raises(UserError, match="between 0 and 1"):
        stated(989, 40)
