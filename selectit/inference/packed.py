"""Rating with models of the LLaMA family: rows packed without padding, every shared thing computed once.

The tokens behind the shared prefix stand in one row of the batch's total length; keys and values of the
prefix are kept per rating prompt; norm, queries, keys and values of the first layer are computed once per
distinct token; only the last position of each text goes through the end of the last layer and the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import rms_norm, silu
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from selectit.inference.batch import PACKED_PATH, Batch, Text
from selectit.inference.kernels import attend, linear
from selectit.inference.probabilities import LENGTH_DEPENDENT_ROPE, rating_probabilities

FAMILY = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)


def obstacle(model: Any) -> str | None:
    """Why the packed path would not compute what the model computes; None: it does."""
    if type(model) not in FAMILY:
        return f"{type(model).__name__} is not of the LLaMA family"
    config = model.config
    if config.rope_parameters["rope_type"] in LENGTH_DEPENDENT_ROPE:
        return f"its rotary embedding ({config.rope_parameters['rope_type']}) depends on the length of a text"
    if getattr(config, "sliding_window", None) is not None:
        return f"it attends within a sliding window of {config.sliding_window} tokens"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    fused = [module for layer in model.model.layers for module in _fused(layer.self_attn)]
    plain = [module for layer in model.model.layers for module in (layer.self_attn.o_proj, *_projections(layer.mlp))]
    if any(type(module) is not nn.Linear for module in (*fused, *plain, model.lm_head)):
        return "its weights are quantised or adapted"
    if any(module.bias is not None for module in plain):
        return "it has a bias behind attention or in its feed-forward layers"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "it is spread over several devices"
    if model.device.type == "cpu" and model.dtype != torch.float32:
        return f"blocked attention on CPU is written for float32, and it is in {model.dtype}"
    return None


def _fused(attention: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return attention.q_proj, attention.k_proj, attention.v_proj


def _projections(mlp: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return mlp.gate_proj, mlp.up_proj, mlp.down_proj


@dataclass(frozen=True)
class _Prefix:
    ids: tuple[int, ...]
    keys: list[torch.Tensor]  # per layer [num_key_value_heads, len(ids), head_dim], rotated
    values: list[torch.Tensor]


@dataclass(frozen=True)
class _Packed:
    """Rows behind each other. `spans` are their first and last-plus-one positions."""

    ids: torch.Tensor  # [num_tokens]
    distinct: torch.Tensor  # the tokens of `ids`, each once
    place: torch.Tensor  # [num_tokens], where in `distinct` each token is
    spans: list[tuple[int, int]]
    last: torch.Tensor | None  # [num_rows], index of each row's last token; None: every token's state is wanted
    cos: torch.Tensor  # [num_tokens, head_dim / 2]
    sin: torch.Tensor


class PackedRater:
    name = PACKED_PATH
    pads = False

    def __init__(self, model: Any, rating_ids: Sequence[int]) -> None:
        assert obstacle(model) is None
        config = model.config
        self._model: Any = model
        self._rating_ids = list(rating_ids)
        self._layers = model.model.layers
        self._head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._num_heads, self._num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._eps = config.rms_norm_eps
        self._qkv = [_fuse(layer.self_attn) for layer in self._layers]
        self._empty = _Prefix((), *[[self._no_keys()] * len(self._layers) for _ in range(2)])
        self._prefix = self._empty

    @torch.inference_mode()
    def rate(self, batch: Batch[Text]) -> np.ndarray:
        prefix = self._prefix_of(batch.prefix)
        packed = self._pack([text.ids[len(prefix.ids) :] for text in batch.items], len(prefix.ids))
        hidden = self._last_hidden(packed, prefix)
        logits = linear(
            self._norm(hidden, self._model.model.norm), self._model.lm_head.weight, self._model.lm_head.bias
        )
        return rating_probabilities(logits, self._rating_ids)

    def _no_keys(self) -> torch.Tensor:
        return torch.empty(self._num_kv_heads, 0, self._head_dim, dtype=self._model.dtype, device=self._model.device)

    def _prefix_of(self, ids: tuple[int, ...]) -> _Prefix:
        if not ids:
            return self._empty
        if ids != self._prefix.ids:
            kept = _Prefix(ids, [], [])
            self._last_hidden(self._pack([ids], 0), self._empty, kept)
            self._prefix = kept
        return self._prefix

    def _pack(self, rows: Sequence[Sequence[int] | np.ndarray], num_shared: int, every: bool = False) -> _Packed:
        ends = np.cumsum([len(row) for row in rows])
        spans = [(int(end) - len(row), int(end)) for end, row in zip(ends, rows, strict=True)]
        device = self._model.device
        ids = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
        distinct, place = np.unique(ids, return_inverse=True)
        positions = torch.cat([torch.arange(num_shared, num_shared + end - start) for start, end in spans])
        reference = self._model.model.norm.weight
        cos, sin = self._model.model.rotary_emb(reference, positions[None].to(device))  # halves are equal
        half = self._head_dim // 2
        return _Packed(
            ids=torch.as_tensor(ids).to(device),
            distinct=torch.as_tensor(distinct).to(device),
            place=torch.as_tensor(place).to(device),
            spans=spans,
            last=None if every else torch.as_tensor(ends - 1).to(device),
            cos=cos[0, :, :half],
            sin=sin[0, :, :half],
        )

    def _last_hidden(self, packed: _Packed, prefix: _Prefix, keep: _Prefix | None = None) -> torch.Tensor:
        """Hidden states in front of the final norm: of each row's last token, [num_rows, hidden_size], or of all.

        Args: keep: where the keys and values of every layer are put, if they are wanted.
        """
        hidden = self._model.model.embed_tokens(packed.ids)  # [num_tokens, hidden_size]
        width = self._num_heads * self._head_dim
        final = len(self._layers) - 1
        for number, layer in enumerate(self._layers):
            if number == final and packed.last is not None:
                last = packed.last
                key_values = self._project(hidden, number, slice(width, None))
                keys, values = self._split(key_values, packed.cos, packed.sin, self._num_kv_heads)
                hidden = hidden[last]
                asked = self._project(hidden, number, slice(width))
                queries, _ = self._split(asked, packed.cos[last], packed.sin[last], self._num_heads)
                spans = [(row, row + 1) for row in range(len(packed.spans))]
            else:
                qkv = self._first_qkv(packed) if number == 0 else self._project(hidden, number)
                rotated, values = self._split(qkv, packed.cos, packed.sin, self._num_heads + self._num_kv_heads)
                queries, keys = rotated[: self._num_heads], rotated[self._num_heads :]
                spans = packed.spans
            if keep is not None:
                keep.keys.append(keys)
                keep.values.append(values)
                if number == final:
                    return hidden
            found = [
                attend(
                    queries[:, first:past],
                    torch.cat([prefix.keys[number], keys[:, start:end]], dim=1),
                    torch.cat([prefix.values[number], values[:, start:end]], dim=1),
                    layer.self_attn.scaling,
                )
                for (first, past), (start, end) in zip(spans, packed.spans, strict=True)
            ]
            hidden.add_(linear(torch.cat(found), layer.self_attn.o_proj.weight))
            normed = self._norm(hidden, layer.post_attention_layernorm)
            gate, up, down = _projections(layer.mlp)
            inner = silu(linear(normed, gate.weight), inplace=True).mul_(linear(normed, up.weight))
            hidden.add_(linear(inner, down.weight))
        return hidden

    def _norm(self, hidden: torch.Tensor, norm: Any) -> torch.Tensor:
        return rms_norm(hidden, hidden.shape[-1:], norm.weight, self._eps)

    def _project(self, hidden: torch.Tensor, number: int, part: slice = slice(None)) -> torch.Tensor:
        """Norm, then queries, keys and values of a layer, or a part of them."""
        weight, bias = self._qkv[number]
        normed = self._norm(hidden, self._layers[number].input_layernorm)
        return linear(normed, weight[part], None if bias is None else bias[part])

    def _first_qkv(self, packed: _Packed) -> torch.Tensor:
        """The first layer's input is the token alone, wherever it stands."""
        return self._project(self._model.model.embed_tokens(packed.distinct), 0)[packed.place]

    def _split(
        self, projected: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, num_rotated: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `num_rotated` heads, rotated, and the others: [num_heads, num_tokens, head_dim] each."""
        heads = projected.view(len(projected), -1, self._head_dim).transpose(0, 1)
        first, second = heads[:num_rotated].chunk(2, dim=-1)
        rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return rotated, heads[num_rotated:]


@torch.no_grad()
def _fuse(attention: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias of queries, keys and values as one matrix; the model's own become views of it."""
    parts = _fused(attention)
    weight = torch.cat([part.weight for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
    start = 0
    for part in parts:
        end = start + part.out_features
        part.weight.data = weight[start:end]
        if bias is not None:
            part.bias.data = bias[start:end]
        start = end
    return weight, bias
