"""The price of rating a pool, before it is rated."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from test_scoring_paths import MIXED, PACKED, PADDED, RATING_IDS, texts
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import ModelConfig, PoolConfig, ScoreStage, WandbConfig
from selectit.cost.flops import BatchCount, Matrices
from selectit.cost.kept import Kept
from selectit.cost.passes import packs, rating_passes
from selectit.cost.score_estimate import estimate, matrices_of
from selectit.cost.speed import stated
from selectit.errors import UserError
from selectit.inference import kernels
from selectit.inference.batch import Batch, LossText, common_prefix
from selectit.inference.loaded import FittingRater, make_rater
from selectit.inference.packed import obstacle
from selectit.inference.shape import shape_from_config
from selectit.inference.token_rater import loss, make_token_rater
from selectit.plan.graph import Stage, alone
from selectit.plan.status import inspect
from selectit.run.engine import run_plan
from selectit.run.stage_runner import Session
from selectit.store.runs_folder import Store


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [(PACKED["grouped queries"], 0.01), (PACKED["tied embeddings"], 0.01), (PADDED["bias"], 0.01),
     (PADDED["not of the LLaMA family"], 0.01)],
)  # fmt: skip
def test_counted_operations_are_those_that_torch_counts(make, tolerance, monkeypatch):
    monkeypatch.setattr(kernels, "_ONEDNN", False)  # torch counts its own layers, not those of oneDNN
    monkeypatch.setattr(kernels, "QUERY_BLOCK", 1)  # a block multiplies what it then masks
    model, rows = make().requires_grad_(False), texts([*MIXED, 150, 90, 120], prefix=30)
    rater = make_rater(model, RATING_IDS)
    prefix = () if rater.pads else common_prefix(rows)
    batch, count = Batch(rows, prefix), BatchCount(matrices_of(model), rater.pads)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rater.rate(batch)
    count.add(batch)
    assert count.flops == pytest.approx(counter.get_total_flops(), rel=tolerance)


@pytest.mark.parametrize(
    "make", [PACKED["grouped queries"], PACKED["tied embeddings"], PADDED["not of the LLaMA family"]]
)
def test_counted_operations_of_losses_are_those_that_torch_counts(make, monkeypatch):
    monkeypatch.setattr(kernels, "_ONEDNN", False)
    monkeypatch.setattr(kernels, "QUERY_BLOCK", 1)
    model = make().requires_grad_(False)
    rows = [
        LossText(text.keys, text.ids, scored=np.arange(len(text.ids)) > 40)
        for text in texts([*MIXED, 150, 90, 120], prefix=30)
    ]
    rater = make_token_rater(model, (loss,))
    batch = Batch(rows, () if rater.pads else common_prefix(rows))
    count = BatchCount(matrices_of(model), rater.pads, every_logit=True)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rater.rate(batch)
    count.add(batch)
    assert count.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_counted_operations_of_training_are_those_that_torch_counts(method, recomputes):
    model = PACKED["grouped queries"]()
    matrices, num_adapter = matrices_of(model), 0
    if method == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
        num_adapter = model.get_nb_trainable_parameters()[0]
    if recomputes:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.arange(2 * 96).reshape(2, 96) % 64
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model.train()(input_ids=ids, labels=ids).loss.backward()
    counted = 2 * matrices.training_flops(96, 96**2, num_adapter, recomputes)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_the_shape_of_a_model_without_weights_is_that_of_the_model():
    model = PACKED["tied embeddings"]()
    with torch.device("meta"):
        skeleton = type(model)(model.config)
    assert matrices_of(skeleton) == matrices_of(model)


@pytest.mark.parametrize("name", PACKED)
def test_a_config_alone_gives_the_matrices_of_the_model_and_the_path_that_rates_it(name):
    model = PACKED[name]()
    config = json.loads(model.config.to_json_string(use_diff=False))
    assert Matrices.of_shape(shape_from_config(config, name)) == matrices_of(model)
    assert packs(config) and obstacle(model) is None


@pytest.mark.parametrize("name", PADDED)
def test_a_config_alone_decides_which_models_are_padded(name):
    model = PADDED[name]()
    if obstacle(model) is not None:
        assert not packs(json.loads(model.config.to_json_string(use_diff=False)))


@pytest.mark.parametrize("change", [{}, {"max_length": 80}, {"max_length": 80, "long_rows": "skip"}])
def test_a_plan_counts_a_pool_as_the_estimate_does(small_pool, demo, change):
    """Rows of the pool are few enough to be all drawn; the estimate tokenises with transformers, the plan without."""
    rows = json.loads(small_pool.read_text())
    small_pool.write_text(json.dumps([*rows, *rows[:5]]))
    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")),
        prompts=("How good is it, from 1 to 5?\n\n", "Rate it.\n\n"), **change,
    )  # fmt: skip
    exact, (planned, how) = estimate(config).count, rating_passes(config, on_gpu=False)
    assert "all 40 rows" in how and planned.num_tokens == exact.num_tokens and planned.num_texts == exact.num_texts
    assert planned.num_positions == exact.num_positions < exact.num_tokens
    assert planned.flops == pytest.approx(exact.flops, rel=1e-3)  # a cut text keeps the end of its question


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
    assert "45 rows, 2 rating prompts: 90 ratings; 40 distinct texts to rate, 40 reused" in result.output
    assert "measured on cpu" in result.output

    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")),
        prompts=tuple(json.loads((tmp_path / "first" / "score.json").read_text())["prompts"]),
    )  # fmt: skip
    found = estimate(config)
    ledger = json.loads((tmp_path / "first" / "score.json").read_text())
    assert (found.num_records, found.count.num_texts) == (ledger["num_ratings"], 40)
    assert 0 < found.count.num_positions < found.count.num_tokens < ledger["num_tokens"]


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
    assert "989 TFLOP/s of a GPU stated, of which 40% is reached" in result.output
    half = CliRunner().invoke(app, arguments[:-2])
    assert "--tflops and --utilisation are given together" in str(half.exception)
    with pytest.raises(UserError, match="between 0 and 1"):
        stated(989, 40)


def test_a_plan_leaves_out_the_ratings_that_an_estimate_finds_in_finished_ledgers(small_pool, demo, tmp_path):
    """A finished stage of one prompt; the next one has another prompt too, and five more rows."""
    pool, model = PoolConfig(path=str(small_pool), limit=15), ModelConfig(path=str(demo / "model"))
    first = ScoreStage(pool=pool, model=model, prompts=("Rate it.\n\n",), num_processes=1)
    session = Session(Store(tmp_path), Console(quiet=True), WandbConfig(enabled=False), "test")
    assert run_plan(alone(stage := Stage("score", first)), session)[stage].artifact is not None
    more = first.model_copy(
        update={"pool": pool.model_copy(update={"limit": 20}), "prompts": ("Rate it.\n\n", "Judge it.\n\n")}
    )
    plan, store = alone(second := Stage("score", more)), Store(tmp_path)
    kept = Kept.of(second, inspect(plan, store)[second], store)
    exact, (planned, how) = estimate(more, kept), rating_passes(more, on_gpu=False, kept=kept)
    assert exact.num_reused == 15 and "15 ratings reused from finished ledgers" in how
    assert planned.num_texts == exact.count.num_texts == 5 + 20
    assert planned.flops == pytest.approx(exact.count.flops)
    on_gpu, _ = rating_passes(more, on_gpu=True, kept=kept)
    assert on_gpu.num_texts == 40  # ratings of another device are not reused


def test_an_estimate_of_a_begun_folder_is_that_of_the_rows_that_are_left(small_pool, demo, tmp_path, monkeypatch):
    arguments = ["score", str(small_pool), "--model", str(demo / "model"), "--num-rating-prompts", "1"]
    real, out = FittingRater.read, tmp_path / "out"

    def dies(self, batch):
        if dies.num_read >= 10:
            raise KeyboardInterrupt
        dies.num_read += len(batch.items)
        return real(self, batch)

    dies.num_read = 0
    monkeypatch.setattr(FittingRater, "read", dies)
    monkeypatch.setattr("selectit.scoring.ledger.FLUSH_SECONDS", 0)
    monkeypatch.setattr("selectit.scoring.batch_tokens.CPU_BATCH_TOKENS", 300)
    monkeypatch.setattr("selectit.inference.workers.most_processes", lambda *_: 1)
    begun = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    monkeypatch.undo()
    assert begun.exit_code != 0, begun.output
    estimate_of = [*arguments, "--estimate", "--tflops", "1", "--utilisation", "0.4", "--out", str(out)]
    result = CliRunner().invoke(app, estimate_of, catch_exceptions=False)
    assert 10 <= dies.num_read < 40
    assert f"40 ratings, {dies.num_read} of them in the unfinished ledger" in result.output
    assert f"{40 - dies.num_read} distinct texts to rate" in result.output
    other = CliRunner().invoke(app, [*estimate_of, "--max-length", "100"], catch_exceptions=False)
    assert "unfinished" not in other.output  # what lies there was begun with other settings
