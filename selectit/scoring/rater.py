"""Next-token probabilities of the rating tokens for many texts, batched through the stock model.

Texts are left-padded, sorted by length and packed under a token budget; only the last position meets the
head; a batch that does not fit into memory is halved and tried again.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Text:
    """A tokenised rating text. `key` is whatever the caller joins results by."""

    key: tuple[str, int]
    ids: list[int]
    truncated: bool = False


def batches(texts: Sequence[Text], batch_tokens: int) -> Iterator[list[Text]]:
    """Longest first, so that memory is found wanting at once; padding included, at most `batch_tokens`."""
    batch: list[Text] = []
    for text in sorted(texts, key=lambda t: (-len(t.ids), t.key)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


@torch.inference_mode()
def rating_probabilities(model: PreTrainedModel, batch: Sequence[Text], rating_ids: Sequence[int]) -> np.ndarray:
    """Softmax over the vocabulary in float32, at the rating tokens.

    Returns: float64 [len(batch), NUM_RATINGS].
    """
    try:
        return _forward(model, batch, rating_ids)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(batch) // 2
    return np.concatenate([rating_probabilities(model, part, rating_ids) for part in (batch[:half], batch[half:])])


def _forward(model: PreTrainedModel, batch: Sequence[Text], rating_ids: Sequence[int]) -> np.ndarray:
    longest = max(len(text.ids) for text in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)  # [batch, longest]
    mask = torch.zeros_like(ids)
    for row, text in enumerate(batch):
        ids[row, longest - len(text.ids) :] = torch.tensor(text.ids)
        mask[row, longest - len(text.ids) :].fill_(1)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    accepted = inspect.signature(model.forward).parameters
    arguments = {name: value.to(model.device) for name, value in arguments.items() if name in accepted}
    if "logits_to_keep" in accepted:
        arguments["logits_to_keep"] = 1
    logits = model(**arguments, use_cache=False).logits[:, -1].float()  # [batch, vocabulary]
    log_probs = logits[:, list(rating_ids)] - logits.logsumexp(dim=1, keepdim=True)
    return log_probs.double().exp().cpu().numpy()
