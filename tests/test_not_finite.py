"""A model that gives no numbers is refused by name before a pool is read; a row that overflows fails alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import ModelConfig, PoolConfig, ScoreStage
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.inference.loaded import make_rater
from selectit.inference.vllm_rater import LoadedVllm
from selectit.scoring import stage
from selectit.tracking import Tracker


@pytest.fixture(scope="module")
def broken(demo, tmp_path_factory) -> Path:
    """The demonstration model with one weight that is not a number."""
    folder = tmp_path_factory.mktemp("nan")
    model = AutoModelForCausalLM.from_pretrained(demo / "model")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(demo / "model").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("command", ["score", "losses", "merge"])
def test_a_model_without_numbers_is_refused_by_name(command, broken, demo, small_pool, tmp_path):
    if command == "merge":
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(demo / "model"), config)
        adapted.save_pretrained(tmp_path / "adapter")
    words = [command, tmp_path / "adapter" if command == "merge" else small_pool, "--model", broken]
    words += ["--out", tmp_path / "out", *(["--num-rating-prompts", 1] if command == "score" else [])]
    found = CliRunner().invoke(app, [str(word) for word in words])
    said = f"{found.output}{found.exception}".replace("\n", " ")
    assert found.exit_code != 0 and "gives logits that are NaN or infinite in float32" in said and "nan0" in said, said


def test_vllm_without_numbers_is_refused_by_name_and_ended(demo, small_pool, monkeypatch):
    closed = []

    class Engine:
        version, dtype, device, max_model_len = "0", "float16", "cuda", 64

        def __init__(self, *arguments):
            pass

        def ask(self, method, rows, token_ids):
            return [(0, [float("nan")] * len(wanted)) for wanted in token_ids]

        def close(self):
            closed.append(self)

    monkeypatch.setattr("selectit.inference.vllm_rater.VllmEngine", Engine)
    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")), prompts=("Rate.\n",),
        backend="vllm", vllm_python="/nowhere/python",
    )  # fmt: skip
    with pytest.raises(
        UserError, match=r"demo/model gives logits that are NaN .* float16: set model\.dtype to bfloat16"
    ):
        LoadedVllm(config, [1, 2, 3, 4, 5], 1)
    assert len(closed) == 1


def test_a_row_whose_numbers_overflow_is_a_failure_of_its_own(demo, small_pool, tmp_path, monkeypatch):
    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model"), dtype="float32"),
        prompts=("Rate it.\n\n",), num_processes=1,
    )  # fmt: skip
    first = next(iter(read_pool(config.pool))).row_id

    def overflowing(model, rating_ids):
        made = make_rater(model, rating_ids)
        rate = made.rate

        def bad_first(batch):
            ratings = rate(batch)
            ratings[[text.keys[0][0] == first for text in batch.items]] = float("nan")
            return ratings

        made.rate = bad_first
        return made

    monkeypatch.setattr("selectit.scoring.rating.make_rater", overflowing)
    (tmp_path / "out").mkdir()
    stage.run(config, {}, tmp_path / "out", Tracker(tmp_path / "out", Console(quiet=True)))
    reported = json.loads((tmp_path / "out" / "score.json").read_text())
    assert reported["failures"] == {"no_rating_probability": 1} and reported["num_ratings"] == 39
