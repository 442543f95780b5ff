"""Optimizers, NEFTune, modules that are saved whole, curricula, going on from an adapter, and what rounding leaves."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny_training import logged, stage_config, tiny_rows, train, write_subset
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, TrainingArguments
from transformers.optimization import Adafactor

from selectit.errors import UserError
from selectit.finetune.arguments import check_adapter, linear_layers, lora_config, sft_config
from selectit.finetune.budget import step_order
from selectit.finetune.dataset import TrainingRow
from selectit.finetune.merge import merge
from selectit.finetune.trainer import ResponseTrainer
from selectit.finetune.weights import load_for_training


def test_settings_that_papers_state_are_set_in_words(tiny_llama, tmp_path):
    config = stage_config(tiny_llama, warmup_ratio=0.05, weight_decay=0.01, max_grad_norm=1.0)
    arguments = sft_config(config, tmp_path, None)
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert arguments.warmup_steps == 0.05 and arguments.weight_decay == 0.01 and arguments.max_grad_norm == 1.0
    assert arguments.optim == "adamw_torch_fused"


def test_a_process_trains_on_one_gpu_of_however_many_it_sees(tiny_llama, tmp_path):
    arguments = sft_config(stage_config(tiny_llama), tmp_path, None)
    arguments._n_gpu = 4  # as transformers sets it where it finds four
    assert TrainingArguments.n_gpu.fget(arguments) == 4 and arguments.n_gpu == 1
    assert arguments.train_batch_size == arguments.per_device_train_batch_size


def test_adafactor_trains_with_the_learning_rate_as_it_is(tiny_llama, subset, tmp_path, monkeypatch):
    made = []
    create = ResponseTrainer.create_optimizer

    def create_and_keep(self, *args):
        made.append(create(self, *args))
        return made[-1]

    monkeypatch.setattr(ResponseTrainer, "create_optimizer", create_and_keep)
    train(stage_config(tiny_llama, method="full", optimizer="adafactor", num_train_epochs=1), subset, tmp_path / "out")
    [optimizer] = made
    assert isinstance(optimizer, Adafactor)
    assert not optimizer.defaults["relative_step"] and not optimizer.defaults["scale_parameter"]
    states = sum(
        value.numel() for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)
    )
    assert states < 0.2 * sum(p.numel() for group in optimizer.param_groups for p in group["params"])


def test_adam_of_8_bits_is_bitsandbytes_own(tiny_llama, tmp_path):
    import bitsandbytes as bnb
    from transformers import Trainer

    config = stage_config(tiny_llama, method="full", optimizer="adamw_8bit")
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(sft_config(config, tmp_path, None))
    optimizer = kind(load_for_training(config).parameters(), **settings)
    assert isinstance(optimizer, bnb.optim.AdamW) and optimizer.args.optim_bits == 8


def test_another_optimizer_is_not_shared_out_by_deepspeed():
    with pytest.raises(ValidationError, match="optimizer adafactor is for deepspeed none"):
        stage_config("m", optimizer="adafactor", deepspeed="zero2", launcher="torchrun")


def test_neftune_moves_training_and_leaves_no_noise_behind(tiny_llama, subset, tmp_path):
    train(stage_config(tiny_llama), subset, tmp_path / "plain")
    train(stage_config(tiny_llama, neftune_noise_alpha=5.0), subset, tmp_path / "noisy")
    train(stage_config(tiny_llama, neftune_noise_alpha=5.0), subset, tmp_path / "again")
    assert logged(tmp_path / "noisy")[0] != logged(tmp_path / "plain")[0]
    assert logged(tmp_path / "noisy") == logged(tmp_path / "again"), "the noise follows from seed, step and pass"
    weights = load_file(tmp_path / "noisy" / "adapter" / "adapter_model.safetensors")
    assert all("embed" not in name for name in weights)


def test_modules_to_save_are_trained_saved_and_merged(tiny_llama, subset, tmp_path):
    settings = {"lora": {"modules_to_save": ["embed_tokens", "lm_head"], "target_modules": ["q_proj"]}}
    train(stage_config(tiny_llama, **settings), subset, tmp_path / "out")
    saved = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    head = next(tensor for name, tensor in saved.items() if "lm_head" in name)
    assert head.shape == base.lm_head.weight.shape and not torch.equal(head, base.lm_head.weight)
    assert merge(tmp_path / "out", tmp_path / "merged").holds
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert 0 < record["changed_share"] <= 1
    with pytest.raises(UserError, match=r"'lm_heat' is not a module .* Did you mean 'lm_head'"):
        lora_config(stage_config(tiny_llama, lora={"modules_to_save": ["lm_heat"]}), base)


def scored_rows():
    scores = [0.3, 0.9, 0.1, 0.7, 0.5, 0.2, 0.8, 0.4, 0.6, 0.0]
    return [{**row, "score": score} for row, score in zip(tiny_rows(10), scores, strict=True)]


@pytest.mark.parametrize("direction", ["ascending", "descending"])
def test_a_curriculum_goes_through_the_scores_in_every_epoch(direction, tiny_llama, tmp_path, monkeypatch):
    subset = write_subset(tmp_path / "subset", scored_rows())
    seen = []
    step = ResponseTrainer.training_step

    def note(self, model, inputs, num_items_in_batch=None):
        seen.append([self._row_ids[row] for row in inputs["row_index"].tolist()])
        return step(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(ResponseTrainer, "training_step", note)
    train(stage_config(tiny_llama, order="curriculum", curriculum=direction), subset, tmp_path / "out")
    score = {row["row_id"]: row["score"] for row in scored_rows()}
    order = sorted(score, key=score.get, reverse=direction == "descending")
    per_step = [{row for rows in seen[start:end] for row in rows} for start, end in ((0, 2), (2, 4), (4, 5))]
    assert per_step == [set(order[:4]), set(order[4:8]), set(order[8:])]
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :], "both epochs alike"


def test_a_curriculum_states_which_way_it_goes_and_has_scores(tiny_llama, subset, tmp_path):
    with pytest.raises(ValidationError, match="belong together"):
        stage_config(tiny_llama, order="curriculum")
    with pytest.raises(ValidationError, match="replayed rows have no selection score"):
        stage_config(tiny_llama, order="curriculum", curriculum="ascending", replay={"path": "p", "share": 0.5})
    with pytest.raises(UserError, match="holds no scores"):
        train(stage_config(tiny_llama, order="curriculum", curriculum="ascending"), subset, tmp_path / "out")
    rows = [TrainingRow(name, torch.zeros(3).numpy(), torch.zeros(3).numpy()) for name in "abc"]
    finetune = stage_config("m", order="curriculum", curriculum="descending", global_batch_size=2).finetune
    order = step_order(rows, finetune, 1, {"a": 1.0, "b": 2.0, "c": 1.0})
    assert [row for step in order.passes(0) for rows in step for row in rows] == [1, 0, 2], "ties by place"


def test_training_continues_from_an_adapter(tiny_llama, subset, tmp_path):
    train(stage_config(tiny_llama, lr_scheduler_type="constant"), subset, tmp_path / "first")
    adapter = tmp_path / "first" / "adapter"
    train(stage_config(tiny_llama, adapter=str(tmp_path / "first"), learning_rate=1e-4), subset, tmp_path / "second")
    assert logged(tmp_path / "second")[0] < logged(tmp_path / "first")[0] - 0.1
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (adapter, tmp_path / "second/adapter")
    )
    assert before.keys() == after.keys() and all((before[name] - after[name]).abs().max() < 1e-2 for name in before)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), tmp_path / "second" / "adapter")
    assert model.peft_config["default"].r == 4
    assert "| went on from | the adapter first |" in (tmp_path / "second" / "adapter" / "README.md").read_text()


def test_an_adapter_of_another_base_or_form_is_refused(tiny_llama, subset, tmp_path):
    train(stage_config(tiny_llama, max_steps=1), subset, tmp_path / "first")
    other = tmp_path / "other"
    shutil.copytree(tiny_llama, other)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with pytest.raises(UserError, match=r"other settings than finetune.lora: r 4 \(here 8\), alpha 8.0 \(here 16.0\)"):
        check_adapter(stage_config(tiny_llama, adapter=str(tmp_path / "first"), lora={"r": 8, "alpha": 16}), model)
    with torch.no_grad():
        model.lm_head.weight += 1
    model.save_pretrained(other)
    with pytest.raises(UserError, match="was trained on another base"):
        check_adapter(stage_config(other, adapter=str(tmp_path / "first" / "adapter")), model)
    with pytest.raises(ValidationError, match="adapter is for methods lora and qlora"):
        stage_config(tiny_llama, method="full", adapter="a")


def test_the_layers_of_gpt_2_are_named(tiny_llama, tmp_path):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2))
    assert linear_layers(model) == {"c_attn", "c_proj", "c_fc"}
    with pytest.raises(UserError, match=r"there are c_attn, c_fc, c_proj, or all-linear"):
        lora_config(stage_config(tiny_llama, lora={"target_modules": ["q_proj"]}), model)
    assert lora_config(stage_config(tiny_llama, lora={"target_modules": ["c_attn"]}), model).fan_in_fan_out


def test_steps_that_half_precision_rounds_away_are_reported(tiny_llama, subset, tmp_path):
    bfloat16 = tmp_path / "bfloat16"
    AutoModelForCausalLM.from_pretrained(tiny_llama).to(torch.bfloat16).save_pretrained(bfloat16)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(bfloat16)
    config = stage_config(bfloat16, method="full", learning_rate=1e-6, num_train_epochs=1)
    config = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    train(config, subset, tmp_path / "out")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model", dtype="bfloat16").state_dict()
    base = AutoModelForCausalLM.from_pretrained(bfloat16, dtype="bfloat16").state_dict()
    changed = sum(int((saved[name] != base[name]).sum()) for name in base) / sum(t.numel() for t in base.values())
    share = json.loads((tmp_path / "out" / "training.json").read_text())["changed_share"]
    assert share == pytest.approx(changed, rel=1e-6) and share < 0.1
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert f"{share:.1%} of the trained weights differ" in card
    assert "steps that bfloat16 cannot hold were rounded away. Raise finetune.learning_rate (1e-06)" in card


def test_a_training_that_changes_no_saved_weight_is_refused(tiny_llama, subset, tmp_path):
    config = stage_config(tiny_llama, max_steps=1, warmup_ratio=0.9)
    with pytest.raises(UserError, match=r"training left the saved weights as they were: all \d+ equal"):
        train(config, subset, tmp_path / "out")
