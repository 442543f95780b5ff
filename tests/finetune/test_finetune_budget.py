"""Arms of one budget: rows, steps or tokens that count in the loss."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError
from tiny_training import logged, stage_config, tiny_rows, train, write_subset

from selectit.config import FinetuneConfig
from selectit.finetune.budget import steps_to, tokens_until
from selectit.finetune.sampler import StepOrder
from selectit.tracking import Tracker

TOKENS = [3 + (5 * i) % 11 for i in range(21)]
ORDER = StepOrder(TOKENS, 8, 2, seed=3)


@pytest.mark.parametrize("budget", [1, 20, sum(TOKENS), sum(TOKENS) + 1, 3 * sum(TOKENS) - 1, 1000])
def test_a_budget_of_tokens_ends_with_the_step_that_reaches_it(budget):
    seen, steps = 0, 0
    while seen < budget:
        seen += ORDER.sum_over_step(steps, TOKENS)
        steps += 1
    assert steps_to(budget, ORDER, TOKENS) == steps
    assert tokens_until(steps, ORDER, TOKENS) == seen >= budget > tokens_until(steps - 1, ORDER, TOKENS)


def record(out) -> dict:
    return json.loads((out / "training.json").read_text())


def test_arms_of_long_and_of_short_rows_train_on_the_same_number_of_tokens(tiny_llama, tmp_path):
    rows = tiny_rows(40)
    rows.sort(key=lambda row: len(row["messages"][1]["content"]))
    config = stage_config(tiny_llama, budget="tokens", budget_tokens=600)
    arms = {"short": rows[:10], "long": rows[-10:]}
    for name, of_arm in arms.items():
        train(config, write_subset(tmp_path / f"{name}_rows", of_arm), tmp_path / name)
    short, long = (record(tmp_path / name) for name in arms)
    assert short["num_steps"] > 2 * long["num_steps"] and short["num_epochs"] > 2 * long["num_epochs"]
    for arm in (short, long):
        largest_step = 4 * max(len(row["messages"][1]["content"]) + 2 for row in rows)
        assert 600 <= arm["num_trained_tokens_seen"] < 600 + largest_step
    for name in arms:
        assert logged(tmp_path / name, "train/learning_rate")[-1] < 0.1 * 1e-2, "the schedule ends where training does"
        assert record(tmp_path / name)["num_tokens_seen"] == logged(tmp_path / name, "train/tokens")[-1]


def test_packing_and_batches_do_not_move_the_end(train_tiny):
    ends = {
        record(train_tiny(name, budget="tokens", budget_tokens=300, **settings))["num_steps"]
        for name, settings in {"a": {}, "b": {"packing": True}, "c": {"micro_batch_size": 1}}.items()
    }
    assert len(ends) == 1


class Stop(Exception):
    pass


def test_a_training_with_a_budget_of_tokens_resumes_to_the_same_end(tiny_llama, subset, tmp_path, monkeypatch):
    config = stage_config(
        tiny_llama, budget="tokens", budget_tokens=400, save_steps=1, packing=True, lora={"dropout": 0.2}
    )
    train(config, subset, tmp_path / "whole")
    log = Tracker.log

    def stop_after_4(self, metrics, step=None):
        log(self, metrics, step)
        if step == 5:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", stop_after_4)
        with pytest.raises(Stop):
            train(config, subset, tmp_path / "killed")
    train(config, subset, tmp_path / "killed")
    for name in ("train/loss", "train/learning_rate", "train/tokens"):
        assert logged(tmp_path / "killed", name) == logged(tmp_path / "whole", name)
    assert (
        record(tmp_path / "killed")["num_trained_tokens_seen"] == record(tmp_path / "whole")["num_trained_tokens_seen"]
    )


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"budget": "steps"}, "budget steps needs max_steps"),
        ({"budget": "tokens"}, "budget tokens needs budget_tokens"),
        ({"budget_tokens": 5}, "belongs to budget tokens, and budget is rows"),
        ({"budget": "tokens", "budget_tokens": 5, "max_steps": 5}, "exclude each other"),
    ],
)
def test_a_budget_without_its_number_is_refused(settings, reported):
    with pytest.raises(ValidationError, match=reported):
        FinetuneConfig(**settings)
