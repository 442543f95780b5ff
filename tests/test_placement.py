"""A model whose layers are spread, here over memory and disk: the same numbers from scoring and evaluation."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
from pydantic import ValidationError
from rich.console import Console

from selectit.config import LossStage, ModelConfig, PoolConfig, ScoreStage
from selectit.errors import UserError
from selectit.evaluate.model.load import load_lm
from selectit.evaluate.model.weights import Weights, find_weights
from selectit.inference.load import is_offloaded, load_model, placement
from selectit.scoring import loss_stage, stage
from selectit.tracking import Tracker


@pytest.fixture
def spread(demo) -> ModelConfig:
    """With room in memory for a part of the layers."""
    return ModelConfig(path=str(demo / "model"), device_map="auto", max_memory="2MB")


def ledgers(run, config, spread, tmp_path):
    """Of the model in one place and of the one that is spread, and what was noted."""
    tables = []
    for name, model in (("whole", config.model), ("spread", spread)):
        (tmp_path / name).mkdir()
        console = Console(record=True, width=200, file=io.StringIO())
        run(config.model_copy(update={"model": model}), {}, tmp_path / name, Tracker(tmp_path / name, console))
        tables.append(parquet.read_table(tmp_path / name / "ledger.parquet"))
    return tables, console.export_text()


def test_ratings_are_the_same(demo, small_pool, spread, tmp_path):
    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool), limit=6), model=ModelConfig(path=str(demo / "model")),
        prompts=("Rate it.\n\n", "Judge it.\n\n"), num_processes=2,
    )  # fmt: skip
    (whole, spread_out), reported = ledgers(stage.run, config, spread, tmp_path)
    np.testing.assert_allclose(
        *(table["probabilities"].combine_chunks().flatten().to_numpy() for table in (whole, spread_out)), atol=1e-5
    )
    score = json.loads((tmp_path / "spread" / "score.json").read_text())
    assert score["placement"] == ["cpu", "disk"] and score["rater"] == "padded" and score["num_processes"] == 1
    assert "the rater lies on cpu, disk" in reported


def test_losses_are_the_same(demo, small_pool, spread, tmp_path):
    config = LossStage(
        pool=PoolConfig(path=str(small_pool), limit=6), model=ModelConfig(path=str(demo / "model")),
        template="alpaca", text="conditioned",
    )  # fmt: skip
    tables, _ = ledgers(loss_stage.run, config, spread, tmp_path)
    np.testing.assert_allclose(*(table["response_loss"].to_numpy() for table in tables), atol=1e-5)


def test_a_layer_on_disk_takes_no_adapter_and_states_what_to_do(demo, spread, tmp_path):
    from peft import LoraConfig, get_peft_model

    assert placement(load_model(ModelConfig(path=str(demo / "model")))) == ["cpu"]
    base = load_model(spread)
    assert is_offloaded(base) and placement(base) == ["cpu", "disk"]
    adapted = get_peft_model(load_model(ModelConfig(path=str(demo / "model"))), LoraConfig(target_modules="all-linear"))
    adapted.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"spread over cpu, disk.*merge it first"):
        load_lm(spread, find_weights(None, str(tmp_path)))
    with pytest.raises(UserError, match="max_memory 1KB does not even hold the token embeddings"):
        load_lm(spread.model_copy(update={"max_memory": "1KB"}), Weights())


def test_a_limit_without_its_map_and_a_limit_that_is_not_a_size_are_refused(demo):
    with pytest.raises(ValidationError, match="max_memory 1GiB is for device_map auto"):
        ModelConfig(path="m", max_memory="1GiB")
    with pytest.raises(ValidationError, match="max_memory"):
        ModelConfig(path="m", device_map="auto", max_memory="lots")
