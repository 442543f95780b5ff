"""What is asked in chat format is what stood in front of the answers in training; answers end as they ended there."""

from __future__ import annotations

import json

import pytest
from families import CHATML_WITH_SYSTEM, FAMILIES, build, tokenizer_of
from tiny_training import stage_config, train, write_subset
from transformers import AutoModelForCausalLM, GenerationConfig

from selectit.config import ModelConfig
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.load import forget_lm, load_lm
from selectit.evaluate.model.weights import Weights
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.finetune.merge import merge
from selectit.inference.load import load_tokenizer
from selectit.templates.form import load_form

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]
CHATML = CHATML_WITH_SYSTEM.replace("You are a tiny assistant.", "Be brief.")


def evaluation(model, template):
    benchmark = load_profile("miniature").benchmarks["alpaca_eval"]
    return EvaluateStage(model=model, benchmark=benchmark, template=template)


@pytest.mark.parametrize(
    ("family", "own", "template"),
    [
        ("llama", "own", "chat"), ("llama", "own", "alpaca"), ("llama", "own", "llmzoo"),
        ("llama", CHATML.replace("<|im_end|>", "<|eot_id|>"), "chat"),  # without a start token
        ("qwen2", "own", "chat"), ("qwen2", "own", "alpaca"), ("qwen2", "own", "llmzoo"), ("gpt2", None, "alpaca"),
        ("smollm2", "own", "chat"), ("smollm2", "own", "alpaca"), ("mistral", "own", "chat"), ("gemma2", "own", "chat"),
    ],
)  # fmt: skip
def test_the_asked_prompt_is_the_beginning_of_the_trained_row(family, own, template, tmp_path):
    base = build(family, tmp_path / "base", own)
    tokenizer = load_tokenizer(ModelConfig(path=str(base)))
    row = load_form(template, tokenizer).encode(TURNS)
    lm = EvaluatedLM(AutoModelForCausalLM.from_pretrained(base), tokenizer)
    lm.use(evaluation(ModelConfig(path=str(base)), template), template, tmp_path)
    prompt = lm.apply_chat_template(TURNS[:1])
    asked = lm.tok_batch_encode([prompt])[0][0].tolist()
    start = row.spans[0][0]
    assert asked[:start] == row.input_ids[:start].tolist() and asked == row.input_ids[: len(asked)].tolist()
    # the answer's own start token is asked with; so is the line end that TRL's template for Qwen2.5 marks
    opened = (template == "llmzoo" and FAMILIES[family]["starts"]) or (family, template) == ("qwen2", "chat")
    assert len(asked) == start + opened
    lm.use(evaluation(ModelConfig(path=str(base)), None), None, tmp_path)
    assert (lm.tok_batch_encode(["Q:"])[0][0][0] == tokenizer.bos_token_id) == FAMILIES[family]["starts"]


def test_answers_of_an_adapter_and_of_its_merge_end_at_the_end_of_the_turn(tmp_path):
    """The tokenizer's own end token is another one (case C05)."""
    base = build("qwen2", tmp_path / "base", CHATML)
    assert tokenizer_of("qwen2").eos_token == "<|endoftext|>"
    subset = write_subset(tmp_path / "subset", [{"row_id": "a", "messages": TURNS}])
    train(stage_config(base, template="chat", max_steps=2), subset, tmp_path / "out")
    adapter = tmp_path / "out" / "adapter"
    wanted = tokenizer_of("qwen2").convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert GenerationConfig.from_pretrained(adapter).eos_token_id == wanted
    model = ModelConfig(path=str(base))
    lm = load_lm(model, Weights(adapter=str(adapter)))
    for template in ("chat", None):
        lm.use(evaluation(model, template), template, tmp_path)
        assert set(lm.describe()["end_tokens"]) >= {"<|im_end|>", "<|endoftext|>"}
    forget_lm()
    merge(adapter, tmp_path / "merged")
    assert GenerationConfig.from_pretrained(tmp_path / "merged").eos_token_id == wanted
    assert json.loads((tmp_path / "merged" / "trained_on.json").read_text())["form"]["end_of_turn"] == "<|im_end|>"


def test_a_tokenizer_with_several_named_templates_is_evaluated(tmp_path):
    base = build("smollm2", tmp_path / "base", {"default": CHATML, "tool_use": "{{ messages }}"})
    tokenizer = load_tokenizer(ModelConfig(path=str(base)))
    assert isinstance(tokenizer.chat_template, dict)
    lm = EvaluatedLM(AutoModelForCausalLM.from_pretrained(base), tokenizer)
    for template in ("chat", None):
        lm.use(evaluation(ModelConfig(path=str(base)), template), template, tmp_path)
        assert "<|im_end|>" in lm.describe()["end_tokens"]
