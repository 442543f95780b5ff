"""Each family of models trains in its own chat template, is saved, loads with plain libraries, answers and stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from families import FAMILIES, build
from peft import PeftModel
from tiny_training import stage_config, train, write_subset
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

QUESTION, ANSWER = "What is the capital of France?", "Paris is the capital."
SMOLLM2 = Path(__file__).parents[3].parent / "smollm2"
OVERFIT = {
    "num_train_epochs": 1, "max_steps": 60, "global_batch_size": 1, "micro_batch_size": 1,
    "lr_scheduler_type": "constant", "max_length": 256, "max_truncated_share": 1.0,
}  # fmt: skip


def answer_of(model, tokenizer, generation_config):
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    generation_config.do_sample, generation_config.max_new_tokens = False, 40
    generated = model.eval().generate(**prompt, generation_config=generation_config)
    return generated[0, prompt["input_ids"].shape[1] :].tolist()


def trained(base, tmp_path, **settings):
    row = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
    subset = write_subset(tmp_path / "subset", [{"row_id": "a", "messages": list(row)}])
    train(stage_config(base, **{**OVERFIT, **settings}), subset, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_family_loads_with_plain_libraries_answers_and_stops(family, tmp_path):
    base = build(family, tmp_path / "base")
    template = "chat" if FAMILIES[family]["template"] else "alpaca"
    method = "lora" if family in ("mistral", "smollm2", "gpt2") else "full"
    settings = (
        {"learning_rate": 1e-2, "lora": {"r": 16, "alpha": 32, "dropout": 0.0}}
        if method == "lora"
        else {"learning_rate": 5e-3}
    )
    out = trained(base, tmp_path, method=method, template=template, **settings)
    folder = out / ("adapter" if method == "lora" else "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if method == "lora":
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    ids = answer_of(model, tokenizer, GenerationConfig.from_pretrained(folder))
    written = tokenizer.decode(ids, skip_special_tokens=True)
    assert written.split("</think>")[-1].strip() == ANSWER  # Qwen3's template opens each answer with an empty thought
    assert tokenizer.decode(ids[-1:]) == FAMILIES[family]["end"] and len(ids) < 40
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    assert ends[0] == ids[-1] and tokenizer.eos_token_id in ends
    record = json.loads((folder / "trained_on.json").read_text())["form"]
    assert (record["end_of_turn"], record["end_of_turn_id"]) == (FAMILIES[family]["end"], ids[-1])


@pytest.mark.slow
def test_smollm2_answers_as_it_was_taught_and_stops(tmp_path):
    if not (SMOLLM2 / "model.safetensors").is_file():
        pytest.skip("SmolLM2 is not on this machine")
    out = trained(SMOLLM2, tmp_path, template="chat", learning_rate=1e-3, max_steps=12)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(SMOLLM2), out / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(out / "adapter")
    ids = answer_of(model, tokenizer, GenerationConfig.from_pretrained(out / "adapter"))
    assert tokenizer.decode(ids) == f"{ANSWER}<|im_end|>"
    assert torch.tensor(ids).numel() < 40
