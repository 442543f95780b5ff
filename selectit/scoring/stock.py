"""Rating through the stock model of transformers: any architecture, texts left-padded to the longest."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from selectit.errors import UserError
from selectit.scoring.rater import Batch, Text

LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
"""Rotary embeddings that change for all positions with the longest text of a batch."""


class StockRater:
    name = "stock"
    pads = True

    def __init__(self, model: Any, rating_ids: Sequence[int]) -> None:
        self._model, self._rating_ids = model, list(rating_ids)
        self._accepted = set(inspect.signature(model.forward).parameters)
        self._uniform = uniform_context(model)
        self._growing = [module for module in model.modules() if getattr(module, "rope_type", None) == "dynamic"]

    def rate(self, batch: Batch) -> np.ndarray:
        texts, longest = batch.texts, max(len(text.ids) for text in batch.texts)
        if self._uniform is not None and len(texts) > 1 and longest >= self._uniform:
            return np.concatenate([self._forward([text]) for text in texts])
        try:
            return self._forward(texts)
        except IndexError as error:  # learned positions end at the context, rotary ones do not
            context = getattr(self._model.config, "max_position_embeddings", None)
            raise UserError(
                f"{self._model.name_or_path} cannot read a text of {longest} tokens (its context is "
                f"{context}); set score.max_length to at most {context}: longer responses then lose their end"
            ) from error

    @torch.inference_mode()
    def _forward(self, texts: Sequence[Text]) -> np.ndarray:
        self._forget_longer_texts()
        rows = [text.ids for text in texts]
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)  # [batch, longest]
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, longest - len(row) :] = torch.as_tensor(row)
            mask[number, longest - len(row) :].fill_(1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        arguments = {n: value.to(self._model.device) for n, value in arguments.items() if n in self._accepted}
        if "logits_to_keep" in self._accepted:
            arguments["logits_to_keep"] = 1
        logits = self._model(**arguments, use_cache=False).logits[:, -1]  # [batch, vocabulary]
        return rating_probabilities(logits, self._rating_ids)

    def _forget_longer_texts(self) -> None:
        """transformers keeps the frequencies of the longest text so far; each text is to have its own."""
        for rope in self._growing:
            rope.inv_freq = rope.original_inv_freq
            rope.max_seq_len_cached = rope.original_max_seq_len


def rating_probabilities(logits: torch.Tensor, rating_ids: Sequence[int]) -> np.ndarray:
    """Args: logits: [batch, vocabulary], any float type. Returns: float64 [batch, NUM_RATINGS]."""
    logits = logits.float()
    log_probs = logits[:, list(rating_ids)] - logits.logsumexp(dim=1, keepdim=True)
    return log_probs.double().exp().cpu().numpy()


def uniform_context(model: Any) -> int | None:
    """Texts shorter than this many tokens may share a batch with any other; None: all may."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in LENGTH_DEPENDENT_ROPE:
        return None
    return rope.get("original_max_position_embeddings") or config.max_position_embeddings
