"""What leaves the project: the model card, the merged model, the upload that happens only when it is asked for."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from peft import PeftModel
from tiny_training import logged
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.errors import UserError
from selectit.finetune.card import NOTICES, base_licence, licence_text
from selectit.finetune.merge import merge
from selectit.finetune.publish import push
from selectit.inference import merge as merging


def reported(*words) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return result.output


def test_the_card_states_what_was_trained_on_what(train_tiny, subset):
    out = train_tiny("out")
    text = (out / "adapter" / "README.md").read_text()
    assert "| trained on | 10 rows, " in text
    assert hashlib.sha256((subset / "messages.jsonl").read_bytes()).hexdigest() in text
    assert f"{logged(out)[0]:.4f} in the first step, {logged(out)[-1]:.4f} in the last of 6" in text
    assert "| licence of the base | unknown: " in text and "library_name: peft" in text and "peft 0." in text
    settings = json.loads(text.split("```json\n")[1].split("```")[0])
    assert settings["learning_rate"] == 1e-2 and settings["seed"] == 7 and settings["lora"]["r"] == 4
    assert "num_processes" not in settings, "it cannot change the weights"
    assert "More Information Needed" not in text, "PEFT's stub"


def test_the_card_states_strategy_ratio_and_task(train_tiny, subset):
    (subset / "selection.json").write_text(json.dumps({"strategy": "selectit", "num_selected": 10, "num_rows": 40}))
    text = (train_tiny("out", max_steps=1) / "adapter" / "README.md").read_text()
    assert "| selected by | strategy selectit, ratio 0.25: 10 of 40 rows |" in text
    assert "pipeline_tag: text-generation" in text


@pytest.mark.parametrize(
    ("base", "licence", "words"),
    [
        ("meta-llama/Meta-Llama-3-8B", "llama3", "Built with Meta Llama 3. Meta Llama 3 is licensed under the"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1", "Built with Llama. Llama 3.1 is licensed under the Llama 3.1"),
        ("meta-llama/Llama-3.2-1B", "llama3.2", "Llama 3.2 Community License, Copyright © Meta Platforms"),
        ("meta-llama/Llama-2-13b-hf", "llama2", "LLAMA 2 Community License"),
        ("google/gemma-2-9b", "gemma", "provided under and subject to the Gemma Terms of Use found at ai.google.dev"),
        ("TinyLlama/TinyLlama-1.1B", None, "unknown"),
        ("mistralai/Mistral-7B-v0.3", None, "unknown"),
    ],
)
def test_bases_that_ask_for_a_notice_get_it(base, licence, words):
    assert base_licence(base) == licence and words in licence_text(licence)


def test_the_card_of_a_whole_model_is_one_of_a_model(train_tiny):
    text = (train_tiny("out", method="full") / "model" / "README.md").read_text()
    assert "# Model of " in text and "library_name: transformers" in text and '"lora": {' not in text


def test_the_licence_is_that_of_the_bases_own_card_and_llama_2_is_known_by_name(tmp_path):
    assert base_licence("meta-llama/Llama-2-7b-hf") == "llama2" and "LLAMA 2 Community License" in NOTICES["llama2"]
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    assert base_licence(str(tmp_path)) == "apache-2.0"
    assert base_licence("nobody/knows") is None


def test_a_merged_model_loads_in_plain_transformers_and_states_what_the_adapter_says(train_tiny, tiny_llama, tmp_path):
    out = train_tiny("out")
    text = reported("merge", out, "--out", tmp_path / "merged")
    assert "In float32 its logits differ from base and adapter by" in text
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    base = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        found, before = merged(input_ids=ids).logits, base(input_ids=ids).logits
        wanted = PeftModel.from_pretrained(base, out / "adapter").eval()(input_ids=ids).logits
    assert (found - wanted).abs().max() < 1e-5 < (found - before).abs().max()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert "Human: " in tokenizer.chat_template
    card = (tmp_path / "merged" / "README.md").read_text()
    assert (
        "with an adapter merged into it" in card and "| trained on | 10 rows" in card and "library_name: tran" in card
    )
    with pytest.raises(UserError, match="is not empty"):
        merge(out, tmp_path / "merged")


def test_half_precision_agrees_within_its_tolerance(train_tiny, tmp_path):
    agreement = merge(train_tiny("out"), tmp_path / "merged", dtype="bfloat16")
    assert agreement.holds and 0 < agreement.difference < agreement.effect
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


def test_a_merged_model_that_reports_itmething_else_is_refused_and_removed(train_tiny, tmp_path, monkeypatch):
    load = merging.load_model

    def damaged(config):
        model = load(config)
        if config.path.endswith("selectit-unfinished"):
            model.lm_head.weight.data *= 1.01
        return model

    monkeypatch.setattr(merging, "load_model", damaged)
    with pytest.raises(UserError, match=r"would not be the adapter's: .*Nothing was written"):
        merge(train_tiny("out"), tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


def test_what_cannot_be_merged_is_named(train_tiny, tmp_path):
    with pytest.raises(UserError, match="holds no adapter: neither"):
        merge(tmp_path, tmp_path / "merged")
    adapter = shutil.copytree(train_tiny("out") / "adapter", tmp_path / "lost")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(tmp_path / "x")}))
    with pytest.raises(UserError, match=r"(?s)the base .*x cannot be read: .*--model"):
        merge(adapter, tmp_path / "merged")


def test_nothing_is_uploaded_unless_it_is_asked_for_and_never_offline(train_tiny, tmp_path, monkeypatch):
    adapter = train_tiny("out") / "adapter"
    monkeypatch.setattr("selectit.store.hub.HfApi", lambda: pytest.fail("the hub was called"))
    text = reported("publish", adapter, "--base", "acme/tiny")
    assert "adapter_model.safetensors" in text and "nothing was uploaded; --push" in text
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, so nothing is uploaded"):
        push(adapter, "me/adapter", private=True, base="acme/tiny")
    with pytest.raises(UserError, match="holds no weights"):
        push(tmp_path, "me/adapter", private=True)
