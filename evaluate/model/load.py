"""The evaluated model, loaded once for all benchmarks, in this process or in several."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any

import torch

from selectit.config import ModelConfig
from selectit.config.evaluate import Backend
from selectit.evaluate.model.ends import ends_saved_in
from selectit.evaluate.model.harness import quiet
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.vllm_lm import load_vllm_lm
from selectit.evaluate.model.weights import Weights, with_adapter
from selectit.inference.answerer import Answerer
from selectit.inference.batch import Batch
from selectit.inference.load import (
    load_model,
    load_tokenizer,
    take_gpu,
)
from selectit.inference.requests import Answer, Request
from selectit.store.trained_on import check_base

_loaded: tuple[Any, EvaluatedLM] | None = None


def load_lm(
    model: ModelConfig, weights: Weights, backend: Backend = "transformers", vllm_python: str | None = None
) -> EvaluatedLM:
    """The model of one arm; asked for again with the same arguments, the same object.

    Raises: UserError where a checkpoint is absent or damaged, where an adapter changes nothing or was trained on
        another base.
    """
    global _loaded
    wanted = (model, weights, backend, vllm_python)
    if _loaded is None or _loaded[0] != wanted:
        forget_lm()
        if weights.adapter is not None:
            check_base(weights.adapter, model)
        with quiet():
            if backend == "vllm":
                _loaded = (wanted, load_vllm_lm(model, weights, vllm_python))
            else:
                _loaded = (wanted, _load(model, weights))
    return _loaded[1]


def forget_lm() -> None:
    """Give the memory of the loaded model back, and end its processes."""
    global _loaded
    if _loaded is not None:
        _loaded[1].close()
        _loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load_answerer(model: ModelConfig, weights: Weights, number: int) -> Answerer:
    """A copy for one of several processes, on GPU `number` where there are GPUs."""
    take_gpu(number)
    with quiet():
        return _load(model, weights).answerer


def answering(model: ModelConfig, weights: Weights, number: int) -> Callable[[Batch[Request]], list[Answer]]:
    return load_answerer(model, weights, number).answer


def _load(model: ModelConfig, weights: Weights) -> EvaluatedLM:
    again = functools.partial(answering, model, weights)
    if weights.checkpoint is not None:
        model = model.model_copy(update={"path": weights.checkpoint, "revision": None})
    tokenizer = load_tokenizer(model)
    if weights.adapter is None:
        return EvaluatedLM(load_model(model), tokenizer, again)
    adapted = with_adapter(load_model(model), weights.adapter, model.path, tokenizer)
    return EvaluatedLM(adapted, tokenizer, again, ends_saved_in(weights.adapter))
