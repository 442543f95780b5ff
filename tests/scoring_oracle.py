"""The oracle of the scoring tests: one text at a time, no cache, every logit, float32. Slow on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


@torch.no_grad()
def rating_probabilities(model, tokenizer, rating_ids: Sequence[int], texts: Sequence[str]) -> np.ndarray:
    """float64 [len(texts), 5]."""
    found = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        probabilities = torch.softmax(model(input_ids=ids).logits[0, -1].float(), dim=-1)
        found.append(probabilities[list(rating_ids)].double().numpy())
    return np.array(found)
