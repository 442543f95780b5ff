"""Floating-point operations of forward passes and of training, counted from a model's matrices and from token ids.

Two for each weight of a matrix that a position passes, and attention; norms and activations are left out. Both
`score --estimate` and `plan --price` count with it. Imports nothing heavy: a plan is priced from config.json alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from selectit.inference.batch import Batch, num_tokens
from selectit.inference.shape import Shape


@dataclass(frozen=True)
class Matrices:
    """Weights of the matrices of a dense causal language model."""

    layers: int
    """Of all layers."""
    first: int
    """Of the first layer: queries, keys and values, which the packed path computes once for each distinct token."""
    last: int
    """Of the last layer: those that the packed path applies at the last position of a rated text only."""
    head: int
    num_layers: int
    attention_width: int
    """num_heads * head_dim."""

    @classmethod
    def of_shape(cls, shape: Shape) -> Matrices:
        weights = {name: prod(size) for name, size in shape.linears.items()}
        keys_and_values = weights["k_proj"] + weights["v_proj"]
        block = sum(weights.values())
        return cls(
            layers=shape.num_layers * block,
            first=weights["q_proj"] + keys_and_values if shape.num_layers > 1 else 0,
            last=block - keys_and_values,
            head=shape.vocab_size * shape.hidden_size,
            num_layers=shape.num_layers,
            attention_width=shape.linears["q_proj"][0],
        )

    def forward_flops(self, num_tokens: float, num_pairs: float, num_logits: float) -> float:
        """Args:
        num_pairs: of a query and a key, in one layer.
        num_logits: positions at which the head is applied.
        """
        weights = num_tokens * self.layers + num_logits * self.head
        return 2.0 * weights + 4.0 * self.attention_width * self.num_layers * num_pairs

    def training_flops(self, num_tokens: float, num_pairs: float, num_adapter: int, recomputes: bool) -> float:
        """Of forward and backward passes, the head at every token.

        Args:
            num_adapter: weights of LoRA; 0 for full training. Frozen matrices have no gradient of their own, so their
                backward pass costs as much as the forward pass, and twice that where they are trained.
            recomputes: gradient checkpointing, which runs the layers forward once more.
        """
        weights = 2.0 * num_tokens * (self.layers + self.head)
        attention = 4.0 * self.attention_width * self.num_layers * num_pairs
        total = (2 if num_adapter else 3) * weights + 3 * attention + 6.0 * num_adapter * num_tokens
        if recomputes:
            total += 2.0 * num_tokens * (self.layers + num_adapter) + attention
        return total


@dataclass
class BatchCount:
    """Texts, tokens and operations of batches, in the order in which they are computed.

    What the texts of a batch share is computed once, as the packed path does; batches behind one another with the same
    prefix share that too. With `pads` every text costs as much as the longest of its batch.
    """

    matrices: Matrices
    pads: bool
    every_logit: bool = False
    """Losses apply the head, and the whole last layer, at every position; ratings at the last of a text."""
    num_texts: float = 0
    num_tokens: float = 0
    """Of the texts, prefixes included."""
    own_positions: float = 0
    """Tokens that pass the model: those behind the prefixes, or those of padded batches."""
    own_flops: float = 0.0
    shared_positions: float = 0
    """Tokens of the prefixes."""
    shared_flops: float = 0.0
    _prefix: tuple[int, ...] | None = None

    @property
    def num_positions(self) -> float:
        return self.own_positions + self.shared_positions

    @property
    def flops(self) -> float:
        return self.own_flops + self.shared_flops

    def add(self, batch: Batch) -> None:
        if not self.pads and batch.prefix != self._prefix:
            self._prefix = batch.prefix
            self.shared_positions += len(batch.prefix)
            self.shared_flops += self._prefix_flops(batch.prefix)
        self.num_texts += len(batch.items)
        self.num_tokens += sum(len(text.ids) for text in batch.items)
        self.own_positions += num_tokens(batch, self.pads)
        self.own_flops += self._batch_flops(batch)

    def add_drawn(self, batches: Iterable[Batch], times: float) -> None:
        """Batches of texts that were drawn: one for every `times` of them. Prefixes are computed once all the same."""
        drawn = BatchCount(self.matrices, self.pads, self.every_logit)
        for batch in batches:
            drawn.add(batch)
        self.num_texts += times * drawn.num_texts
        self.num_tokens += times * drawn.num_tokens
        self.own_positions += times * drawn.own_positions
        self.own_flops += times * drawn.own_flops
        self.shared_positions += drawn.shared_positions
        self.shared_flops += drawn.shared_flops

    def _batch_flops(self, batch: Batch) -> float:
        matrices, num_texts, positions = self.matrices, len(batch.items), num_tokens(batch, self.pads)
        if self.pads:
            longest = positions // num_texts
            logits = sum(len(text.ids) for text in batch.items) if self.every_logit else num_texts
            return matrices.forward_flops(positions, num_texts * longest**2, logits)
        shared = len(batch.prefix)
        lengths = [len(text.ids) - shared for text in batch.items]
        pairs = sum(n * shared + n * (n + 1) // 2 for n in lengths)
        repeated = positions - len(np.unique(np.concatenate([text.ids[shared:] for text in batch.items])))
        if self.every_logit:
            return matrices.forward_flops(positions, pairs, positions) - 2.0 * repeated * matrices.first
        last_pairs = sum(shared + n for n in lengths)
        return (
            matrices.forward_flops(positions, 0, num_texts)
            - 2.0 * repeated * matrices.first
            - 2.0 * (positions - num_texts) * matrices.last
            + 4.0 * matrices.attention_width * (pairs * (matrices.num_layers - 1) + last_pairs)
        )

    def _prefix_flops(self, prefix: tuple[int, ...]) -> float:
        """Keys and values of every layer: what follows them in the last one is not computed. Losses also need those of
        the prefix's own tokens, which is a pass of its own.
        """
        matrices, num_shared = self.matrices, len(prefix)
        pairs = num_shared * (num_shared + 1) // 2
        repeated = 2.0 * (num_shared - len(set(prefix))) * matrices.first
        kept = 2.0 * num_shared * (matrices.layers - matrices.last) - repeated
        kept += 4.0 * matrices.attention_width * pairs * (matrices.num_layers - 1)
        if not self.every_logit or num_shared < 2:
            return kept
        return kept + matrices.forward_flops(num_shared, pairs, num_shared - 1) - repeated
