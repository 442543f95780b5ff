"""Counted work: parameters from a config.json or from the weights' own headers, floating-point operations from tokens.

2 operations per parameter and token forward, twice that backward; attention's quadratic part is left out (under
a tenth at 2,000 tokens and 7B). Reads JSON and file headers; imports nothing heavy, for a plan is priced with it. Exact
counts of the batches of one pool are `selectit.cost.batch_flops`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from selectit.errors import UserError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ATTENTION_BIASES = {"llama": (), "mistral": (), "qwen2": ("q_proj", "k_proj", "v_proj"), "qwen3": ()}
"""Families whose parameters follow from config.json: a gated MLP of three matrices and grouped attention."""


@dataclass(frozen=True)
class Shape:
    """What a causal language model is made of."""

    num_parameters: int
    num_layers: int
    hidden_size: int
    vocab_size: int
    kv_size: int
    """Width of keys (and of values) in one layer."""
    linears: Mapping[str, tuple[int, int]]
    """The linear layers of one block: name -> (out, in)."""

    def lora_parameters(self, r: int, target_modules: tuple[str, ...] | Literal["all-linear"]) -> int:
        names = self.linears if target_modules == "all-linear" else target_modules
        return self.num_layers * sum(r * sum(self.linears[name]) for name in names if name in self.linears)


def shape_from_config(config: Mapping[str, Any], where: str) -> Shape:
    """Raises: UserError for a family whose parameters do not follow from its config.json."""
    family = config.get("model_type")
    if family not in ATTENTION_BIASES:
        known = ", ".join(ATTENTION_BIASES)
        raise UserError(f"the parameters of {where} (model_type {family}) are counted for {known} only")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    kv = head * (config.get("num_key_value_heads") or heads)
    inner, layers, vocab = config["intermediate_size"], config["num_hidden_layers"], config["vocab_size"]
    linears = {
        "q_proj": (heads * head, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden),
        "o_proj": (hidden, heads * head),
        "gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner),
    }  # fmt: skip
    biased = list(ATTENTION if config.get("attention_bias") else ATTENTION_BIASES[family])
    biased += MLP if config.get("mlp_bias") else ()
    norms = 2 * hidden + (2 * head if family == "qwen3" else 0)
    block = sum(map(prod, linears.values())) + sum(linears[name][0] for name in biased) + norms
    embeddings = vocab * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return Shape(layers * block + embeddings + hidden, layers, hidden, vocab, kv, linears)


def stored_parameters(folder: Path) -> int:
    """Elements in the safetensors files of a folder, from their headers; tied weights are stored once."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        total += sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total


def forward_flops(num_parameters: int, num_tokens: float) -> float:
    return 2.0 * num_parameters * num_tokens


def training_flops(num_parameters: int, num_adapter_parameters: int, num_tokens: float, recomputes: bool) -> float:
    """Args:
    num_adapter_parameters: of LoRA; 0 for full training.
    recomputes: gradient checkpointing, which runs the blocks forward once more.

    Full: forward and both halves of backward, 6 per parameter. LoRA: nothing is accumulated for the frozen weights,
    so 4, and 6 for the adapter's own.
    """
    base = 4 if num_adapter_parameters else 6
    again = 2 if recomputes else 0
    return num_tokens * ((base + again) * num_parameters + (6 + again) * num_adapter_parameters)
