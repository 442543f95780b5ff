"""Floating-point operations of one batch of rating, counted from a model's modules: of any architecture, attention and
what the packed path saves included. For `--estimate` of one pool, which has a model (without weights) and its batches.

Two for each weight of a matrix that a position passes, and attention; norms and activations are left out. What a whole
plan costs is counted from config.json, without torch, in `selectit.inference.flops`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from selectit.inference.batch import Batch, num_tokens


@dataclass(frozen=True)
class Matrices:
    """Of a dense causal language model; a model on the meta device has it too."""

    layers: int
    """Weights of the matrices of all layers."""
    first: int
    """Those of the first layer that the packed path multiplies once for each distinct token of a batch."""
    last: int
    """Those of the last layer that the packed path multiplies at the last position of a text only."""
    head: int
    num_layers: int
    attention_width: int
    """num_heads * head_dim."""

    @classmethod
    def of(cls, model: Any) -> Matrices:
        head = model.get_output_embeddings().weight
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)} | {id(head)}
        matrices = [p for p in model.parameters() if p.dim() == 2 and id(p) not in embeddings]
        config = model.config.get_text_config()
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = config.num_attention_heads * head_dim
        feed_forward = 3 * config.hidden_size * (getattr(config, "intermediate_size", None) or 0)
        key_values = 2 * config.hidden_size * head_dim * getattr(config, "num_key_value_heads", 0)
        return cls(
            layers=sum(p.numel() for p in matrices),
            first=config.hidden_size * width + key_values if config.num_hidden_layers > 1 else 0,
            last=feed_forward + 2 * config.hidden_size * width,  # queries and output projection
            head=head.numel(),
            num_layers=config.num_hidden_layers,
            attention_width=width,
        )


def batch_flops(matrices: Matrices, batch: Batch, pads: bool) -> float:
    """Of one batch, without its prefix."""
    num_texts, positions = len(batch.items), num_tokens(batch, pads)
    if pads:
        longest = positions // num_texts
        weights = positions * matrices.layers + num_texts * matrices.head
        return 2.0 * weights + 4.0 * matrices.attention_width * matrices.num_layers * num_texts * longest**2
    shared = len(batch.prefix)
    lengths = [len(text.ids) - shared for text in batch.items]
    pairs = sum(n * shared + n * (n + 1) // 2 for n in lengths) * (matrices.num_layers - 1)
    pairs += sum(shared + n for n in lengths)
    repeated = positions - len(np.unique(np.concatenate([text.ids[shared:] for text in batch.items])))
    weights = (
        positions * (matrices.layers - matrices.last)
        - repeated * matrices.first
        + num_texts * (matrices.last + matrices.head)
    )
    return 2.0 * weights + 4.0 * matrices.attention_width * pairs


def prefix_flops(matrices: Matrices, prefix: tuple[int, ...]) -> float:
    """Of the tokens that the texts of a batch share, on the packed path."""
    num_shared = len(prefix)
    pairs = num_shared * (num_shared + 1) // 2 * (matrices.num_layers - 1)
    weights = num_shared * (matrices.layers - matrices.last) - (num_shared - len(set(prefix))) * matrices.first
    return 2.0 * weights + 4.0 * matrices.attention_width * pairs
