"""The ways to train an adapter: LoRA's variants, and QLoRA as far as this machine goes."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from pydantic import ValidationError
from tiny_training import logged, stage_config

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.finetune.arguments import quantization
from selectit.store.kinds import KINDS


@pytest.mark.parametrize("switch", ["use_rslora", "use_dora"])
def test_a_switch_of_lora_trains_another_adapter_and_is_written_into_it(switch, train_tiny):
    plain, other = train_tiny("plain"), train_tiny("other", lora={switch: True})
    assert logged(plain)[0] == pytest.approx(logged(other)[0], abs=1e-6), "an untrained adapter changes nothing"
    assert logged(plain)[-1] != logged(other)[-1]
    written = [json.loads((out / "adapter" / "adapter_config.json").read_text())[switch] for out in (plain, other)]
    assert written == [False, True]


def test_qlora_leaves_what_lora_leaves():
    assert KINDS["finetune-qlora"].outputs == KINDS["finetune-lora"].outputs
    assert KINDS["finetune-qlora"].content == KINDS["finetune-lora"].content


def test_the_base_of_qlora_is_nf4_with_double_quantisation(tiny_llama):
    built = quantization(stage_config(tiny_llama, method="qlora"))
    assert built.load_in_4bit and built.bnb_4bit_use_double_quant
    assert built.bnb_4bit_quant_type == "nf4" and built.bnb_4bit_compute_dtype == torch.float32


def test_qlora_without_bitsandbytes_names_the_extra(tiny_llama, monkeypatch):
    from selectit.finetune.stage import preflight

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package bitsandbytes.*'\.\[qlora\]'.*method lora"):
        preflight(stage_config(tiny_llama, method="qlora"))


def test_qlora_under_zero3_is_refused():
    with pytest.raises(ValidationError, match=r"deepspeed zero3 shares out the weights.*none or zero2"):
        FinetuneConfig(method="qlora", launcher="torchrun", deepspeed="zero3")


def test_qlora_trains_an_adapter_on_a_base_of_4_bits(train_tiny):
    out = train_tiny("out", method="qlora")
    losses = logged(out)
    assert losses[-1] < losses[0]
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
