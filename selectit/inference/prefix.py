"""The keys and values of tokens with which all rows of a batch start, computed once for any number of batches.

Works with every model of transformers whose cache is a plain one (`shares_prefixes`).
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from peft import PeftModel
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from selectit.inference.probabilities import uniform_context
from selectit.inference.requests import Ids


def shares_prefixes(model: PreTrainedModel | PeftModel) -> bool:
    """Whether continuing from cached keys and values is computing the same: not with sliding windows or recurrent
    states, with rotary embeddings that depend on the length of a text, or behind learned prompt tokens.
    """
    base = _base(model)
    if learns_prompts(model) or uniform_context(base) is not None:
        return False
    if "past_key_values" not in inspect.signature(base.forward).parameters:
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=base.config).layers)


def accepts(model: PreTrainedModel | PeftModel, argument: str) -> bool:
    return not learns_prompts(model) and argument in inspect.signature(_base(model).forward).parameters


def learns_prompts(model: PreTrainedModel | PeftModel) -> bool:
    return isinstance(model, PeftModel) and bool(model.active_peft_config.is_prompt_learning)


def _base(model: PreTrainedModel | PeftModel) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


class SharedPrefix:
    """Holds the last prefix that was asked for; batches with the same one follow each other."""

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        self._model: Any = model
        self._ids: Ids = ()
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []  # [1, num_key_value_heads, len(ids), head_dim] each

    def to_read(self, ids: Ids, num_rows: int) -> Cache:
        """A cache for one forward pass, which keeps nothing of it."""
        return self._expanded(ids, num_rows, _ReadOnlyLayer)

    def to_grow(self, ids: Ids, num_rows: int) -> Cache:
        """A cache that generation goes on from."""
        return self._expanded(ids, num_rows, DynamicLayer)

    def _expanded(self, ids: Ids, num_rows: int, layer_class: type[DynamicLayer]) -> Cache:
        if not ids:
            return DynamicCache()
        if ids != self._ids:
            self._compute(ids)
        cache = DynamicCache()
        for keys, values in self._layers:
            layer = layer_class()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (states.expand(num_rows, -1, -1, -1) for states in (keys, values))
            cache.layers.append(layer)
        return cache

    @torch.no_grad()
    def _compute(self, ids: Ids) -> None:
        self._ids, self._layers = (), []
        tokens = torch.tensor([ids], device=self._model.device)
        kept = {"logits_to_keep": 1} if accepts(self._model, "logits_to_keep") else {}
        found = self._model(input_ids=tokens, use_cache=True, past_key_values=DynamicCache(), **kept)
        self._ids, self._layers = ids, [(layer.keys, layer.values) for layer in found.past_key_values.layers]


class _ReadOnlyLayer(DynamicLayer):
    """Gives the prefix with what follows it and forgets the latter: one layer's keys are held at a time, not all."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.keys is not None and self.values is not None
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)
