"""Raters in 8 or 4 bits: what they rate, how they are loaded, and what is refused before weights are.

bitsandbytes computes for real; GPTQ and AWQ are not installed, and only their refusal is tested.
"""

from __future__ import annotations

import functools
import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from selectit.config import LossStage, ModelConfig, PoolConfig, ScoreStage
from selectit.errors import UserError
from selectit.inference import loaded, quantised, token_rater
from selectit.inference.batch import Batch, LossText, Text
from selectit.inference.load import load_model
from selectit.inference.loaded import make_rater
from selectit.inference.quantised import bitsandbytes_config, check_quantization, dtype_text
from selectit.inference.token_rater import make_token_rater
from selectit.scoring import loss_stage, stage
from selectit.store.fingerprint import Hasher, identity


def config_of(pool, model, **settings) -> ScoreStage:
    return ScoreStage(
        pool=PoolConfig(path=str(pool)), model=ModelConfig(path=str(model)), prompts=("Rate it.\n\n",), **settings
    )  # fmt: skip


BITS = {
    "8bit": BitsAndBytesConfig(load_in_8bit=True),
    "4bit": BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    ),
}  # fmt: skip
LENGTHS = (21, 5, 12, 12)


@pytest.fixture(scope="module")
def even_llama(demo, tmp_path_factory):
    """A random LLaMA whose matrices divide into blocks of 64, as bitsandbytes wants them on a CPU."""
    folder = tmp_path_factory.mktemp("even_llama")
    tokenizer = AutoTokenizer.from_pretrained(demo / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.2, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def texts_of(kind, **settings):
    draws = np.random.default_rng(0)
    return [
        kind(((f"row{n}", 0),), draws.integers(10, 200, size), **{k: v(size) for k, v in settings.items()})
        for n, size in enumerate(LENGTHS)
    ]


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_rater_rates_a_text_among_others_as_plain_transformers_rates_it_alone(even_llama, bits):
    """LLM.int8 rounds a text by what else is in its batch: together, these texts' probabilities differ by a tenth."""
    ids = [31, 32, 33, 34, 35]
    texts = texts_of(Text)
    model = ModelConfig(path=str(even_llama))
    with loaded.LoadedRater(model, lambda model: make_rater(model, ids), 1, bits) as rater:
        assert rater.facts.reads_alone == (bits == "8bit")
        [(_, found)] = rater.rate([Batch(texts)])
    plain = AutoModelForCausalLM.from_pretrained(even_llama, quantization_config=BITS[bits], device_map={"": "cpu"})
    with torch.no_grad():
        logits = [plain(input_ids=torch.tensor(text.ids)[None]).logits[0, -1].float() for text in texts]
    expected = torch.stack([one.softmax(dim=0)[ids] for one in logits]).numpy()
    assert np.allclose(np.array(list(found)), expected, rtol=1e-6 if bits == "8bit" else 0.02)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_losses_of_a_quantised_model_are_those_of_plain_transformers(even_llama, bits):
    texts = texts_of(LossText, scored=lambda size: np.arange(size) > size // 2)
    make = functools.partial(make_token_rater, quantities=(token_rater.loss,))
    with loaded.LoadedRater(ModelConfig(path=str(even_llama)), make, 1, bits) as rater:
        [(_, found)] = rater.rate([Batch(texts)])
    plain = AutoModelForCausalLM.from_pretrained(even_llama, quantization_config=BITS[bits], device_map={"": "cpu"})
    with torch.no_grad():
        for (response, whole), text in zip(found, texts, strict=True):
            ids = torch.tensor(text.ids)[None]
            for loss, kept in ((response, torch.tensor(text.scored)[None]), (whole, torch.ones_like(ids) > 0)):
                labels = ids.masked_fill(~kept, -100)
                num_scored = int((labels[:, 1:] != -100).sum())
                expected = float(plain(input_ids=ids, labels=labels).loss) * num_scored
                assert loss == pytest.approx(expected, rel=1e-5 if bits == "8bit" else 0.01)


@pytest.fixture
def gptq(demo, tmp_path):
    """The demonstration model, whose config.json says that its weights are GPTQ's."""
    folder = tmp_path / "gptq"
    shutil.copytree(demo / "model", folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_four_and_eight_bits_reach_transformers_with_a_place_for_the_weights(demo, monkeypatch):
    asked = {}
    load = AutoModelForCausalLM.from_pretrained

    def watched(path, **settings):
        asked.update(settings)
        return load(path, **{k: v for k, v in settings.items() if k not in ("quantization_config", "device_map")})

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    model = ModelConfig(path=str(demo / "model"))
    for bits, wanted in (("4bit", ("load_in_4bit", "nf4")), ("8bit", ("load_in_8bit", None))):
        asked.clear()
        load_model(model, quantization=bitsandbytes_config(bits, model))
        made = asked["quantization_config"]
        assert getattr(made, wanted[0]) and asked["device_map"] == {"": "cpu"}
        if wanted[1]:
            assert made.bnb_4bit_quant_type == "nf4" and made.bnb_4bit_compute_dtype == torch.float32
    assert bitsandbytes_config("none", model) is None


def test_a_quantised_rater_is_named_counted_whole_and_its_ratings_are_not_reused_for_others(demo, monkeypatch):
    """Packed weights are fewer numbers, and theta of the model level must not become smaller by it."""
    whole = load_model(ModelConfig(path=str(demo / "model")))
    num_parameters = sum(p.numel() for p in whole.parameters())

    def half_as_many(config, quantization=None):
        model = load_model(config)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data)
        del model.model.layers[1:]
        return model

    monkeypatch.setattr(loaded, "load_model", half_as_many)
    with loaded.LoadedRater(
        ModelConfig(path=str(demo / "model")), lambda model: make_rater(model, [1, 2, 3, 4, 5]), 1, "4bit"
    ) as rater:  # fmt: skip
        assert rater.facts.num_parameters == num_parameters
        assert rater.facts.dtype == "float32, 4bit weights"


def test_quantization_is_part_of_the_fingerprint_of_ratings_and_losses(small_pool, demo):
    score = config_of(small_pool, demo / "model")
    losses = LossStage(pool=score.pool, model=score.model, text="bare", template="plain")
    for config in (score, losses):
        made = [identity(config.model_copy(update={"quantization": q}), Hasher()) for q in ("none", "8bit", "4bit")]
        assert len({json.dumps(one, sort_keys=True) for one in made}) == 3


def test_what_a_quantised_rater_lacks_is_said_before_weights_are_loaded(small_pool, demo, gptq, monkeypatch):
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"score\.quantization 4bit needs the package bitsandbytes.*\[qlora\]"):
        stage.preflight(config_of(small_pool, demo / "model", quantization="4bit"))
    losses = LossStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")), text="bare",
        template="plain", quantization="8bit",
    )  # fmt: skip
    with pytest.raises(UserError, match="needs the package bitsandbytes"):
        loss_stage.preflight(losses)
    with pytest.raises(UserError, match=r"gptq is quantised already|is quantised already \(gptq\)"):
        check_quantization(config_of(small_pool, gptq, quantization="4bit"))
    spread = config_of(small_pool, demo / "model", quantization="4bit")
    spread = spread.model_copy(update={"model": spread.model.model_copy(update={"device_map": "auto"})})
    with pytest.raises(UserError, match="set device_map to none"):
        check_quantization(spread)


def test_a_quantised_checkpoint_without_its_package_is_refused_by_name(small_pool, gptq):
    with pytest.raises(UserError, match=r"is quantised \(gptq\) and cannot be loaded here: "):
        check_quantization(config_of(small_pool, gptq))
    assert dtype_text(torch.float16, "none", ModelConfig(path=str(gptq))) == "float16, gptq weights"
    with pytest.raises(UserError, match="no model could be loaded from"):
        load_model(ModelConfig(path=str(gptq)))


def test_vllm_does_not_quantise(demo):
    from pydantic import ValidationError

    from selectit.config import ScoreConfig

    with pytest.raises(ValidationError, match="is for backend transformers"):
        ScoreConfig(quantization="4bit", backend="vllm")
