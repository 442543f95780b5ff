"""Tiny random models of the families that people train, each with a tokenizer and a chat template of its form.

The templates of Qwen, Llama 3, Gemma and Phi-3 are read from the installed TRL; those of Mistral and SmolLM2 are
written here in their form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

STOCK = Path(trl.__file__).parent / "chat_templates"
CHATML_WITH_SYSTEM = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a tiny assistant.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
WORDS = "the quick brown fox jumps over a lazy dog and says hello to The World. Yes, Paris is the capital of France."


def stock(name: str) -> str:
    return (STOCK / f"{name}.jinja").read_text(encoding="utf-8")


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {
        "special": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "starts": True, "template": stock("llama3"),
        "end": "<|eot_id|>",
    },
    "mistral": {
        "special": ["<s>", "</s>", "[INST]", "[/INST]"],
        "bos": "<s>", "eos": "</s>", "starts": True, "template": MISTRAL, "end": "</s>",
    },
    "qwen2": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "bos": None, "eos": "<|endoftext|>", "starts": False, "template": stock("qwen2_5"), "end": "<|im_end|>",
    },
    "qwen3": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "bos": None, "eos": "<|im_end|>", "starts": False, "template": stock("qwen3"), "end": "<|im_end|>",
    },
    "gemma2": {
        "special": ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
        "bos": "<bos>", "eos": "<eos>", "starts": True, "template": stock("gemma"), "end": "<end_of_turn>",
    },
    "phi3": {
        "special": ["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"],
        "bos": "<s>", "eos": "<|endoftext|>", "starts": False, "template": stock("phi3"), "end": "<|end|>",
    },
    "gpt2": {
        "special": ["<|endoftext|>"],
        "bos": "<|endoftext|>", "eos": "<|endoftext|>", "starts": False, "template": None, "end": "<|endoftext|>",
    },
    "smollm2": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "bos": "<|im_start|>", "eos": "<|im_end|>", "starts": False, "template": CHATML_WITH_SYSTEM,
        "end": "<|im_end|>",
    },
}  # fmt: skip
"""`starts`: the tokenizer writes its start token; `end`: the token that ends a turn."""
ARCHITECTURE = {"smollm2": "llama"}


def tokenizer_of(family: str, template: Any = "own") -> PreTrainedTokenizerFast:
    """Byte-level BPE with words of its own, so that a blank is joined to the word behind it, as in GPT-2."""
    reported = FAMILIES[family]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([WORDS] * 5, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in reported["special"]])
    if reported["starts"]:
        start = reported["bos"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
        )
    named = {"eos_token": reported["eos"], **({"bos_token": reported["bos"]} if reported["bos"] else {})}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.chat_template = reported["template"] if template == "own" else template
    return fast


def build(family: str, folder: Path, template: Any = "own") -> Path:
    """A checkpoint with its tokenizer; the embedding has a few rows more than there are tokens, as real ones do."""
    tokenizer = tokenizer_of(family, template)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer) + 3, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None, "initializer_range": 0.3, "tie_word_embeddings": family == "gemma2",
    }  # fmt: skip
    if family == "gpt2":
        shape = {key: shape[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}
        shape |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.3}
    torch.manual_seed(0)
    config = AutoConfig.for_model(ARCHITECTURE.get(family, family), **shape)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
