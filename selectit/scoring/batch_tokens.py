"""How many tokens one forward pass of ratings or losses takes where the recipe does not say."""

from __future__ import annotations

from selectit.config import LossStage, ScoreStage
from selectit.inference.batch import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS

CPU_VLLM_TOKENS, GPU_VLLM_TOKENS = 16384, 131072
"""What vLLM is handed at once: it makes its own batches of it. What a kill loses is what it was handed."""


def tokens_of_a_batch(config: ScoreStage | LossStage, device: str) -> int:
    if config.batch_tokens is not None:
        return config.batch_tokens
    if isinstance(config, ScoreStage) and config.backend == "vllm":
        return GPU_VLLM_TOKENS if device == "cuda" else CPU_VLLM_TOKENS
    return GPU_BATCH_TOKENS if device == "cuda" else CPU_BATCH_TOKENS
