"""One vector of a text from the hidden states of its tokens: from sums over tokens that its parts can add up.

The states are those behind the final norm, of every token of the text: instruction, start and end token among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from selectit.config import Pooling


def position_sums(states: Sequence[torch.Tensor], num_before: int = 0) -> torch.Tensor:
    """Sums over the tokens of each text, unweighted and weighted by position, which counts from 1.

    Args:    states: [num_tokens, width] of each text; num_before: tokens that stand in front of them.
    Returns: float32 [num_texts, 2, width].
    """
    longest = max(len(own) for own in states)
    positions = torch.arange(num_before + 1, num_before + longest + 1, device=states[0].device, dtype=torch.float32)
    weights = torch.stack([torch.ones_like(positions), positions])  # [2, longest]
    return torch.stack([weights[:, : len(own)] @ own.float() for own in states])


def pooled(poolings: Sequence[Pooling], sums: torch.Tensor, last: torch.Tensor, lengths: Sequence[int]) -> np.ndarray:
    """Args:
        sums: [num_texts, 2, width], as `position_sums` gives them, of whole texts.
        last: [num_texts, width], the states of the last tokens.
        lengths: number of tokens of each text.
    Returns: float64 [num_texts, len(poolings) * width], the vectors behind one another.
    Source: automated-instruction-selection (df71a04) weights position t, from 1, by t / sum(t).
    """
    counts = torch.tensor(lengths, dtype=torch.float32, device=sums.device)[:, None]  # [num_texts, 1]
    found: dict[Pooling, torch.Tensor] = {
        "mean": sums[:, 0] / counts,
        "weighted_mean": sums[:, 1] / (counts * (counts + 1) / 2),
        "last": last.float(),
    }
    return torch.cat([found[name] for name in poolings], dim=1).double().cpu().numpy()
