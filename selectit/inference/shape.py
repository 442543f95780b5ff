"""The shape of a model, read from its configuration without loading it: parameters, widths, linear layers.

Reads config.json; imports nothing heavy, for a plan is priced with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from selectit.config import ModelConfig
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


def config_of(model: ModelConfig) -> dict[str, Any]:
    """Raises: UserError where the model's config.json is neither here nor in the hub's cache."""
    path = model_file(model, "config.json")
    if path is None:
        raise UserError(f"the config.json of {model.path} is neither in a folder here nor in the hub's cache")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def shape_of(model: ModelConfig) -> Shape:
    """Raises: UserError, see `config_of` and `shape_from_config`."""
    return shape_from_config(config_of(model), model.path)


def bytes_per_parameter(model: ModelConfig, on_gpu: bool) -> int:
    return 4 if model.dtype == "float32" or (model.dtype == "auto" and not on_gpu) else 2


def dtype_name(dtype: str, how: str | None) -> str:
    """The number type as ledgers and reports name it, such as `bfloat16, 4bit weights`. Args: how: it is quantised."""
    return dtype + (f", {how} weights" if how else "")


def model_file(model: ModelConfig, name: str) -> Path | None:
    """A file of a checkpoint folder, or of a hub model that is in the cache."""
    folder = Path(model.path)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.path, name, revision=model.revision)
    return Path(found) if isinstance(found, str) else None
