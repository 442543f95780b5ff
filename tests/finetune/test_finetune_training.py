"""What a training run computes and leaves behind."""

from __future__ import annotations

import gc
import io
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from rich.console import Console
from tiny_training import logged, stage_config, tiny_rows, write_subset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from selectit.data.conversations import read_conversations
from selectit.errors import UserError
from selectit.finetune.dataset import tokenize
from selectit.inference.load import load_tokenizer
from selectit.templates import chat_template
from selectit.templates.form import load_form

GOLDEN = Path(__file__).parents[1] / "golden" / "finetune_losses.json"
NO_DROPOUT = {"dropout": 0.0}


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model.eval()(input_ids=torch.arange(3, 40)[None]).logits


def test_the_loss_of_a_padded_batch_is_that_of_its_rows_one_by_one(tiny_llama, train_tiny, subset):
    out = train_tiny("out", global_batch_size=10, micro_batch_size=5, max_steps=1, lora=NO_DROPOUT)
    config = stage_config(tiny_llama)
    conversations = read_conversations(subset / "messages.jsonl", config.finetune.template)
    rows = tokenize(
        conversations, load_form(config.finetune.template, load_tokenizer(config.model)), config.finetune
    ).rows
    assert len({len(row.input_ids) for row in rows}) > 5, "rows of one length would need no padding"
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    total, num_tokens = 0.0, 0
    with torch.no_grad():
        for row in rows:
            row_logits = model(input_ids=torch.tensor(row.input_ids)[None]).logits[0, :-1]
            labels = torch.tensor(row.labels)[1:]
            total += torch.nn.functional.cross_entropy(row_logits, labels, reduction="sum").item()
            num_tokens += int((labels != -100).sum())
    assert logged(out)[0] == pytest.approx(total / num_tokens, abs=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_micro_batch_size_changes_no_loss_without_dropout(method, train_tiny):
    one, four = (
        logged(train_tiny(f"micro{size}", method=method, micro_batch_size=size, lora=NO_DROPOUT)) for size in (1, 4)
    )
    assert one == pytest.approx(four, abs=1e-5)
    assert len(one) == 6  # 10 rows, 4 a step, 2 epochs: the last step of an epoch takes the 2 rows that are left


def test_execution_fields_change_no_loss(train_tiny):
    plain = logged(train_tiny("plain"))
    assert logged(train_tiny("checkpointed", gradient_checkpointing=True)) == pytest.approx(plain, abs=1e-6)
    assert logged(train_tiny("saved", save_steps=1)) == plain


def test_the_seed_decides_the_losses(train_tiny):
    first, again, other = (logged(train_tiny(f"run{i}", seed=seed)) for i, seed in enumerate((1, 1, 2)))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", ["lora", "full"])
def test_losses_equal_the_pinned_ones(name, train_tiny, subset):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    write_subset(subset, tiny_rows(golden["num_rows"]))
    run = golden["runs"][name]
    assert logged(train_tiny("out", **run["settings"])) == pytest.approx(run["losses"], abs=1e-4)


def test_an_adapter_loads_with_plain_peft_and_changes_the_logits(tiny_llama, train_tiny):
    adapter = train_tiny("out") / "adapter"
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    before = logits(base)
    after = logits(PeftModel.from_pretrained(base, adapter))
    assert (after - before).abs().max() > 0.01
    assert AutoTokenizer.from_pretrained(adapter).chat_template == chat_template("llmzoo")
    assert not (adapter / "training_args.bin").exists()


def test_a_full_model_loads_with_plain_transformers_and_has_learned(tiny_llama, train_tiny):
    out = train_tiny("out", method="full", num_train_epochs=6)
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    assert model.dtype == torch.float32
    assert (logits(model) - logits(AutoModelForCausalLM.from_pretrained(tiny_llama))).abs().max() > 0.01
    assert AutoTokenizer.from_pretrained(out / "model").chat_template == chat_template("llmzoo")
    losses = logged(out)
    assert losses[-1] < losses[0] - 1


def test_training_json_counts_what_was_trained(train_tiny):
    out = train_tiny("out")
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    rows = json.loads((out / "row_tokens.json").read_text(encoding="utf-8"))
    assert len(rows["tokens"]) == len(rows["trained_tokens"]) == record["num_rows"]
    assert sum(rows["tokens"]) == record["num_tokens"]
    assert sum(rows["trained_tokens"]) == record["num_trained_tokens"]
    losses = logged(out)
    assert record["final_loss"] == record["tail_loss"] == losses[-1]
    assert (record["num_rows"], record["num_steps"], record["num_epochs"]) == (10, 6, 2)
    assert 0 < record["num_trained_tokens"] < record["num_tokens"]
    assert record["tokens_per_second"] == pytest.approx(2 * record["num_tokens"] / record["seconds"])
    assert (record["method"], record["template"], record["dtype"]) == ("lora", "llmzoo", "float32")


def test_the_log_holds_learning_rate_gradient_norm_and_epoch(train_tiny):
    out = train_tiny("out", lr_scheduler_type="linear", warmup_ratio=0.5)
    assert logged(out, "train/learning_rate") == pytest.approx([0, 1e-2 / 3, 2e-2 / 3, 1e-2, 2e-2 / 3, 1e-2 / 3])
    assert all(value > 0 for value in logged(out, "train/grad_norm"))
    assert logged(out, "train/epoch") == pytest.approx([0.4, 0.8, 1, 1.4, 1.8, 2])


def test_fewer_rows_than_a_batch_are_trained_in_one_step_and_noted(train_tiny, capsys):
    console = Console(file=io.StringIO())
    out = train_tiny("out", console=console, global_batch_size=64, num_train_epochs=1)
    assert len(logged(out)) == 1
    assert "each step takes all 10 rows, fewer than global_batch_size" in console.file.getvalue()
    captured = capsys.readouterr()
    assert captured.out + captured.err == "", "only the tracker speaks"


def test_a_loss_that_is_not_finite_names_step_and_rows(train_tiny):
    with pytest.raises(UserError, match=r"training step 2: .*Rows of that batch: row-\d, row-\d.*learning_rate"):
        train_tiny("out", method="full", learning_rate=1e38, lr_scheduler_type="constant")


def test_training_that_changes_nothing_is_an_error(train_tiny):
    with pytest.raises(UserError, match=r"left the saved weights as they were: .* Raise finetune.learning_rate"):
        train_tiny("out", learning_rate=1e-44)


@pytest.mark.parametrize(("name", "hint"), [("q_projj", "Did you mean 'q_proj'"), ("lm_head", "takes\\s+an adapter")])
def test_an_unknown_target_module_is_refused(name, hint, train_tiny):
    with pytest.raises(UserError, match=f"finetune.lora.target_modules: '{name}' is not a linear layer.*{hint}"):
        train_tiny("out", lora={"target_modules": (name,)})


def test_nothing_of_a_training_stays_in_memory(train_tiny):
    before = {id(o) for o in gc.get_objects() if isinstance(o, PreTrainedModel)}  # of tests before this one
    train_tiny("out")
    assert not [o for o in gc.get_objects() if isinstance(o, PreTrainedModel) and id(o) not in before]
