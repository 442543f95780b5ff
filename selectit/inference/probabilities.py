"""From logits to the probabilities of rating tokens, and how the length of a text may change them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
"""Rotary embeddings that change for all positions with the longest text of a batch."""


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
