"""The language model that lm-eval asks, with vLLM in place of transformers where something is computed.

Tokenizing, truncating and keeping answers are `EvaluatedLM`'s, which sees the model's outline: its configuration on
torch's meta device, no weights. An adapter is merged into a folder of its own first, as vLLM's LoRA does not know DoRA.
"""

from __future__ import annotations

import functools
import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from peft import PeftConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.evaluate.model.ends import ends_saved_in
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.weights import Weights, changes_nothing
from selectit.inference.batch import Batch
from selectit.inference.load import load_outline, load_tokenizer
from selectit.inference.merge import merge_weights
from selectit.inference.requests import Answer, Request
from selectit.inference.vllm_answerer import VllmAnswerer, batches
from selectit.inference.vllm_client import VllmEngine, engine_settings

_TO_MERGE = "vLLM is given adapters merged into their base; evaluate this one with evaluate.backend=transformers"


class VllmLM(EvaluatedLM):
    def __init__(
        self,
        outline: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        start: Callable[[int], VllmEngine],
        merged: tempfile.TemporaryDirectory[str] | None = None,
        ends: Sequence[int] = (),
    ) -> None:
        """Args:
        outline: on the meta device.
        start: an engine for a context of so many tokens.
        merged: the folder of a merged adapter, deleted with the model.
        ends: as `EvaluatedLM` takes them.
        """
        super().__init__(outline, tokenizer, ends=ends)
        context = self.max_length + 1  # as in log-likelihoods: the last token is only scored
        self._vllm = VllmAnswerer(functools.partial(start, context), self.tok_decode, str(outline.name_or_path))
        self._merged = merged

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self._vllm.facts, "adapter": self._merged is not None}

    def close(self) -> None:
        self._vllm.close()
        if self._merged is not None:
            self._merged.cleanup()

    def _plan(self, requests: Sequence[Request]) -> list[Batch[Request]]:
        return batches(requests, self._batch_size)

    def _answer(
        self, batches: Sequence[Batch[Request]], num_processes: int
    ) -> Iterator[tuple[Batch[Request], list[Answer]]]:
        for batch in batches:
            yield batch, self._vllm.answer(batch)


def load_vllm_lm(model: ModelConfig, weights: Weights, python: str | None) -> VllmLM:
    """Raises: UserError where a checkpoint is absent or damaged, an adapter changes nothing or cannot be merged, or
    vLLM cannot be started or does not take the model.
    """
    if weights.checkpoint is not None:
        model = model.model_copy(update={"path": weights.checkpoint, "revision": None})
    tokenizer = load_tokenizer(model)
    if weights.adapter is None:
        return VllmLM(load_outline(model), tokenizer, functools.partial(_start, model, python))
    merged = tempfile.TemporaryDirectory(prefix="selectit-merged-")
    try:
        model = _merge(model, weights.adapter, tokenizer, Path(merged.name) / "model")
        start = functools.partial(_start, model, python)
        return VllmLM(load_outline(model), tokenizer, start, merged, ends_saved_in(weights.adapter))
    except BaseException:
        merged.cleanup()
        raise


def _start(model: ModelConfig, python: str | None, context: int) -> VllmEngine:
    num_gpus = max(1, torch.cuda.device_count()) if model.device_map == "auto" else 1
    return VllmEngine(python, engine_settings(model, context, num_gpus))


def _merge(model: ModelConfig, adapter: str, tokenizer: PreTrainedTokenizerBase, out: Path) -> ModelConfig:
    """The adapter's weights in those of its base, in the number type of the evaluation."""
    try:
        folder = Path(adapter) if Path(adapter).exists() else Path(snapshot_download(adapter))
        learns_prompts = PeftConfig.from_pretrained(str(folder)).is_prompt_learning
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the adapter {adapter} cannot be read: {str(error).splitlines()[0]}") from error
    if learns_prompts:
        raise UserError(f"the adapter {adapter} is made of prompt tokens, which no weights take in. {_TO_MERGE}")
    try:
        agreement = merge_weights(folder, model, tokenizer, out)
    except UserError as error:
        raise UserError(f"{error}\n{_TO_MERGE}, or, where rounding is the reason, with model.dtype=float32.") from error
    if agreement.effect == 0:
        raise changes_nothing(adapter, model.path)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # or vLLM would find it taken
    return model.model_copy(update={"path": str(out), "revision": None})
