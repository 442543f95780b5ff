"""Sampling whose draws belong to a request and not to its place in a batch.

torch draws for a whole batch from one generator, so another batch size would give other completions and another
pass@10. Here each request has a generator of its own, seeded by the seed, its prompt and its number among equals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from selectit.inference.requests import Generation


def sampling(requests: Sequence[Generation], device: torch.device) -> LogitsProcessorList:
    """What turns greedy generation of these requests, which have equal settings, into sampling."""
    settings = requests[0].settings
    generators = [torch.Generator(device).manual_seed(seed_of(request)) for request in requests]
    # the warpers' order is that of transformers' own sampling
    warpers = [TemperatureLogitsWarper(settings.temperature), TopPLogitsWarper(settings.top_p)]
    return LogitsProcessorList([*warpers, _GumbelNoise(generators)])


def seed_of(request: Generation) -> int:
    """Of its draws, 63 bits."""
    name = f"{request.settings.seed} {request.number} {request.ids}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


class _GumbelNoise(LogitsProcessor):
    """The argmax of logits plus Gumbel noise is a sample of their softmax."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(scores, dtype=torch.float32)  # [batch, vocab]
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - noise.log()
