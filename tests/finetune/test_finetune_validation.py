"""What is held out, replayed and kept per epoch, and where a training stops early."""

from __future__ import annotations

import json
import math

import pytest
import torch
from peft import PeftModel
from tiny_training import logged, stage_config, tiny_rows, train, write_subset
from transformers import AutoModelForCausalLM

from selectit.config import ReplayConfig, ValidationFile, ValidationSplit
from selectit.errors import NotRun, Preempted, UserError
from selectit.evaluate.model.weights import find_weights
from selectit.evaluate.stage import trained_folder
from selectit.finetune.dataset import tokenize
from selectit.finetune.rows import read_rows
from selectit.finetune.validation import has_stopped
from selectit.tracking import Tracker


def own_loss(model, rows) -> float:
    """Mean negative log-probability of the labelled tokens, row by row."""
    total, number = 0.0, 0
    for row in rows:
        ids = torch.as_tensor(row.input_ids)
        with torch.no_grad():
            log_probs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        for at in range(1, len(ids)):
            if row.labels[at] != -100:
                total, number = total - float(log_probs[at - 1, ids[at]]), number + 1
    return total / number


def record(out) -> dict:
    return json.loads((out / "training.json").read_text())


def pool_file(path, rows):
    path.write_text("".join(json.dumps({"id": row["row_id"], "messages": row["messages"]}) + "\n" for row in rows))
    return str(path)


def distinct_rows(number: int, word: str):
    return [
        {
            "row_id": f"{word}-{i}",
            "messages": [
                {"role": "user", "content": f"{word} {i}"},
                {"role": "assistant", "content": f"{word} is {i * i}"},
            ],
        }
        for i in range(number)
    ]


@pytest.mark.parametrize("packing", [False, True])
def test_the_validation_loss_is_that_of_every_held_out_token(packing, tiny_llama, tmp_path):
    from selectit.inference.load import load_tokenizer
    from selectit.templates.form import load_form

    subset = write_subset(tmp_path / "subset", distinct_rows(12, "sun"))
    config = stage_config(tiny_llama, validation={"share": 0.25, "seed": 3}, packing=packing)
    train(config, subset, tmp_path / "out")
    rows = read_rows(subset / "messages.jsonl", config.finetune)
    assert len(rows.validation) == 3 and len(rows.trained) == 9
    held_out = tokenize(rows.validation, load_form("llmzoo", load_tokenizer(config.model)), config.finetune)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    tuned = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval()
    found = record(tmp_path / "out")
    assert [entry["epoch"] for entry in found["validation"]] == [1, 2]
    assert math.isclose(found["validation"][-1]["loss"], own_loss(tuned, held_out.rows), rel_tol=1e-5)
    assert found["num_rows"] == 9 and found["num_validation_rows"] == 3
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    logged_losses = [line["validation/loss"] for line in lines if "validation/loss" in line]
    assert logged_losses == [entry["loss"] for entry in found["validation"]]
    card = (tmp_path / "out" / "adapter" / "README.md").read_text()
    assert f"on 3 rows that were not trained on: {logged_losses[0]:.4f} after epoch 1" in card


def test_validating_changes_no_step(tiny_llama, tmp_path):
    rows = distinct_rows(9, "sun")
    subset = write_subset(tmp_path / "subset", rows)
    held_out = pool_file(tmp_path / "v.jsonl", distinct_rows(4, "moon"))
    lora = {"dropout": 0.2}
    train(stage_config(tiny_llama, lora=lora), subset, tmp_path / "without")
    train(stage_config(tiny_llama, lora=lora, validation={"path": held_out}), subset, tmp_path / "with")
    lines = [json.loads(line) for line in (tmp_path / "with" / "metrics.jsonl").read_text().splitlines()]
    assert [line["train/loss"] for line in lines if "train/loss" in line] == logged(tmp_path / "without")


def test_no_row_is_both_trained_on_and_held_out(tiny_llama, tmp_path):
    rows = distinct_rows(10, "sun")
    twins = [{**row, "row_id": f"twin of {row['row_id']}"} for row in rows[:5]]
    subset = write_subset(tmp_path / "subset", rows + twins)
    general = pool_file(tmp_path / "general.jsonl", distinct_rows(30, "moon") + rows)
    held_out = pool_file(tmp_path / "held_out.jsonl", rows[3:6] + distinct_rows(2, "moon"))
    for validation in (ValidationSplit(num_rows=4), ValidationSplit(share=0.2, seed=1), ValidationFile(path=held_out)):
        config = stage_config(tiny_llama, validation=validation, replay=ReplayConfig(path=general, share=0.5))
        found = read_rows(subset / "messages.jsonl", config.finetune)
        reported = [{json.dumps(c.messages) for c in part} for part in (found.trained, found.validation)]
        assert not reported[0] & reported[1] and found.validation
    assert len(found.validation) == 5 and found.num_also_in_validation == 5  # 3 rows, and the twins of two of them


def test_replayed_rows_are_the_share_that_is_asked_for_and_are_counted(tiny_llama, tmp_path):
    subset = write_subset(tmp_path / "subset", distinct_rows(9, "sun"))
    general = pool_file(tmp_path / "general.jsonl", distinct_rows(20, "moon"))
    config = stage_config(tiny_llama, replay={"path": general, "share": 0.25})
    train(config, subset, tmp_path / "out")
    assert record(tmp_path / "out")["num_replayed"] == 3 and record(tmp_path / "out")["num_rows"] == 12
    assert "| replayed | 3 of these rows, from general.jsonl |" in (tmp_path / "out/adapter/README.md").read_text()

    def ids(**replay) -> set[str]:
        finetune = stage_config(tiny_llama, replay={"path": general, **replay}).finetune
        return {conversation.row_id for conversation in read_rows(subset / "messages.jsonl", finetune).trained}

    assert ids(share=0.25) < ids(share=0.5), "a larger draw holds the smaller one"
    assert ids(share=0.25) != ids(share=0.25, seed=1)
    with pytest.raises(UserError, match=r"takes 81 general rows next to 9 of the subset, and .* has 20"):
        ids(share=0.9)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_early_stopping_keeps_the_best_epoch(method, tiny_llama, tmp_path):
    """What is learned of these rows makes the loss of others fall, and then rise."""
    subset = write_subset(tmp_path / "subset", tiny_rows(8))
    held_out = pool_file(tmp_path / "v.jsonl", distinct_rows(4, "moon"))
    stopping = {
        "method": method, "num_train_epochs": 12, "learning_rate": 2e-2, "lr_scheduler_type": "constant",
        "validation": {"path": held_out}, "early_stopping": {"metric": "validation_loss", "patience": 2},
    }  # fmt: skip
    train(stage_config(tiny_llama, **stopping), subset, tmp_path / "out")
    found = record(tmp_path / "out")
    losses = [entry["loss"] for entry in found["validation"]]
    assert found["stopped_early"] and len(losses) == losses.index(min(losses)) + 3 < 12
    if method == "full":
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model").eval()
    else:
        base = AutoModelForCausalLM.from_pretrained(tiny_llama)
        model = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval()
    from selectit.inference.load import load_tokenizer
    from selectit.templates.form import load_form

    config = stage_config(tiny_llama, **stopping)
    rows = read_rows(subset / "messages.jsonl", config.finetune)
    tokenized = tokenize(rows.validation, load_form("llmzoo", load_tokenizer(config.model)), config.finetune)
    assert math.isclose(own_loss(model, tokenized.rows), min(losses), rel_tol=1e-4)
    folder = "model" if method == "full" else "adapter"
    assert "the lowest (early stopping)" in (tmp_path / "out" / folder / "README.md").read_text()


def test_the_rule_of_early_stopping():
    finetune = stage_config("m", validation={"share": 0.5}, early_stopping={"patience": 2}).finetune
    log = [{"step": i, "epoch": i, "eval_loss": loss} for i, loss in enumerate([3.0, 2.0, 2.5, 2.0], start=1)]
    assert [has_stopped(log[:n], finetune) for n in range(5)] == [False, False, False, False, True]
    assert not has_stopped(log, stage_config("m").finetune)


def test_a_training_that_was_stopped_resumes_to_the_same_validation_losses(tiny_llama, tmp_path, monkeypatch):
    import os
    import signal

    subset = write_subset(tmp_path / "subset", distinct_rows(12, "sun"))
    settings = {"validation": {"num_rows": 3}, "num_train_epochs": 4, "early_stopping": {"patience": 3}}
    train(stage_config(tiny_llama, **settings), subset, tmp_path / "whole")
    log = Tracker.log

    def log_and_terminate(self, metrics, step=None):
        log(self, metrics, step)
        if step in (2, 5):  # noticed at the end of steps 3 and 6, each the last of an epoch
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Tracker, "log", log_and_terminate)
    for _ in range(2):
        with pytest.raises(Preempted):
            train(stage_config(tiny_llama, **settings), subset, tmp_path / "out")
    monkeypatch.undo()
    train(stage_config(tiny_llama, **settings), subset, tmp_path / "out")
    assert record(tmp_path / "out")["validation"] == record(tmp_path / "whole")["validation"]
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_weights_after_each_epoch_are_kept_and_are_those_of_a_training_that_stops_there(
    method, tiny_llama, tmp_path
):
    subset = write_subset(tmp_path / "subset", tiny_rows(8))
    settings = {"method": method, "num_train_epochs": 3, "lr_scheduler_type": "constant"}
    config = stage_config(tiny_llama, **settings).model_copy(update={"keep_epochs": True})
    train(config, subset, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "epochs").iterdir()) == ["1", "2"]
    train(stage_config(tiny_llama, **{**settings, "num_train_epochs": 2}), subset, tmp_path / "short")
    name = "model/model.safetensors" if method == "full" else "adapter/adapter_model.safetensors"
    assert (tmp_path / "out" / "epochs" / "2" / name).read_bytes() == (tmp_path / "short" / name).read_bytes()
    assert (tmp_path / "out" / "epochs" / "2" / name).with_name("trained_on.json").is_file()
    found = find_weights(trained_folder({"model": tmp_path / "out"}, 2), None)
    assert str(tmp_path / "out" / "epochs" / "2") in (found.adapter or found.checkpoint)
    with pytest.raises(NotRun, match="training stopped early, before the end of epoch 3"):
        trained_folder({"model": tmp_path / "out"}, 3)
