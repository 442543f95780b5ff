"""Architectures are rated as one text at a time without any padding is: tiny random models of transformers' classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from selectit.errors import UserError
from selectit.inference.batch import Batch, LossText, Text
from selectit.inference.loaded import make_rater
from selectit.inference.token_rater import loss, make_token_rater

VOCABULARY = 97
RATING_IDS = [11, 12, 13, 14, 15]
SIZES = dict(
    vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2, is_decoder=True, hidden_size=16,
    intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
    max_position_embeddings=128, n_embd=16, n_layer=2, n_head=2, n_positions=128, n_inner=32, d_model=16, n_layers=2,
    n_heads=2, num_heads=2, num_layers=2, ffn_dim=32, ffn_hidden_size=32, word_embed_proj_dim=16, context_length=128,
    attention_hidden_size=16, lru_width=16, rotary_dim=4, state_size=8, mamba_d_state=8, mamba_n_heads=4,
    mamba_d_head=8, mamba_n_groups=1, mamba_expand=2, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32,
    num_experts=4, num_local_experts=4, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, n_group=1,
    topk_group=1, first_k_dense_replace=1, n_shared_experts=1, shared_expert_intermediate_size=16, q_lora_rank=8,
    kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
)  # fmt: skip
"""The names that configurations of many families have; each takes its own and keeps the others as they are."""
PADDED = [
    "afmoe", "apertus", "arcee", "aria_text", "bamba", "beam", "bert", "bert-generation", "big_bird", "biogpt",
    "bitnet", "bloom", "cohere", "cohere2", "cwm", "deepseek_v2", "diffllama", "doge", "dots1", "ernie", "ernie4_5",
    "ernie4_5_moe", "exaone4", "falcon_mamba", "flex_olmo", "fuyu", "gemma", "gemma2", "gemma3_text", "glm", "glm4",
    "glm4_moe", "gpt2", "gpt_bigcode", "gpt_neox", "gpt_oss", "gptj", "granite", "granitemoe", "granitemoeshared",
    "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "hyperclovax", "internlm3", "jamba", "jetmoe", "lfm2", "llama",
    "llama4_text", "mamba", "minimax", "ministral", "mistral", "mixtral", "modernbert-decoder", "mpt", "nanochat",
    "nemotron", "olmo", "olmo2", "olmo3", "olmo_hybrid", "olmoe", "openai-gpt", "opt", "persimmon", "phi", "phi3",
    "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2",
    "vaultgemma", "xglm",
]  # fmt: skip
ALONE = [
    "bart", "bigbird_pegasus", "blenderbot", "camembert", "marian", "mbart", "pegasus", "plbart", "recurrent_gemma",
    "roberta", "roformer", "rwkv", "trocr", "whisper", "xlm-roberta",
]  # fmt: skip
"""Padding would change their numbers: they run over it, or count positions from the first token on."""
BY_DEFAULT = [
    "gpt2", "gpt_neox", "mixtral", "bloom", "qwen2", "llama", "mamba", "rwkv", "recurrent_gemma", "roberta", "opt",
    "gemma2",
]  # fmt: skip
"""The rest of them is slow together."""
NOT_CAUSAL = {
    "bert": dict(is_decoder=False),
    "roberta": dict(is_decoder=False),
    "xlm": dict(causal=False),
    "cpmant": dict(),
}  # fmt: skip
"""What such a model says of a token depends on the tokens behind it."""


def build(name: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**{**SIZES, **settings})).eval()
    with torch.no_grad():  # large enough weights that positions and earlier tokens matter to the result
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
    return model


def texts() -> list[Text]:
    generator = np.random.default_rng(0)
    shared = generator.integers(20, VOCABULARY, 5)
    return [
        Text(((str(n), 0),), np.concatenate([shared, generator.integers(20, VOCABULARY, length)]).astype(np.int32))
        for n, length in enumerate((1, 2, 9, 30, 17))
    ]


@torch.no_grad()
def one_by_one(model, rows: list[Text]) -> list[torch.Tensor]:
    """Logits [num_tokens, vocabulary] of each text: the plainest call there is."""
    return [model(input_ids=torch.tensor(row.ids[None].astype(np.int64)), use_cache=False).logits[0] for row in rows]


def spread(names: list[str]) -> list:
    return [name if name in BY_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", spread([*PADDED, *ALONE]))
def test_a_family_is_rated_as_one_text_at_a_time(name):
    model, rows = build(name), texts()
    logits = one_by_one(model, rows)
    expected = np.array([torch.softmax(one[-1].float(), -1)[RATING_IDS].double().numpy() for one in logits])
    rater = make_rater(model, RATING_IDS)
    assert getattr(rater, "reads_alone", False) == (name in ALONE)  # the packed path never does
    assert np.ptp(expected[:, 0]) > 1e-6  # what stands in a text matters
    np.testing.assert_allclose(rater.rate(Batch(rows)), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", spread([*PADDED, *ALONE]))
def test_the_losses_of_a_family_are_those_of_one_text_at_a_time(name):
    model = build(name)
    rows = [LossText(row.keys, row.ids, scored=np.arange(len(row.ids)) >= 5) for row in texts()]
    expected = []
    for row, logits in zip(rows, one_by_one(model, rows), strict=True):
        targets = torch.tensor(row.ids[1:].astype(np.int64))
        each = torch.nn.functional.cross_entropy(logits[:-1].float(), targets, reduction="none").double().numpy()
        expected.append([each[4:].sum(), each.sum()])
    np.testing.assert_allclose(make_token_rater(model, (loss,)).rate(Batch(rows)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["rwkv", "recurrent_gemma", "gpt2", "mixtral"])
def test_half_precision_does_not_change_how_a_family_is_asked(name):
    rater = make_rater(build(name).to(torch.bfloat16), RATING_IDS)
    assert getattr(rater, "reads_alone", False) == (name in ALONE)  # the packed path never does
    assert np.isfinite(rater.rate(Batch(texts()))).all()


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_a_model_that_sees_later_tokens_is_refused(name):
    with pytest.raises(UserError, match="is not a causal language model as it is configured"):
        make_rater(build(name, **NOT_CAUSAL[name]), RATING_IDS)


def test_at_least_forty_families_are_held():
    assert len({*PADDED, *ALONE}) >= 90 and not {*PADDED} & {*ALONE}
