"""Loading checkpoints: device, dtype, tokenizer and model, with errors that name the cure."""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from selectit.config import ModelConfig
from selectit.errors import UserError

logging.disable_progress_bar()  # one bar per stage is drawn, by the tracker


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def take_gpu(number: int) -> None:
    """Let `device()` be GPU `number` in this process, where there are GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def resolve_dtype(model: ModelConfig) -> torch.dtype:
    """auto is float32 on CPU, where half precision is many times slower, and bfloat16 on GPU."""
    if model.dtype == "auto":
        return torch.bfloat16 if device().type == "cuda" else torch.float32
    return getattr(torch, model.dtype)


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """Raises: UserError where the folder or hub id holds no usable tokenizer."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"no tokenizer could be loaded from {model.path}: {str(error).splitlines()[0]}\n"
            "A model folder needs tokenizer.json or tokenizer.model and tokenizer_config.json beside config.json."
        ) from error
    if len(tokenizer) < 10:  # transformers builds a 3-token vocabulary where the vocabulary file is missing
        raise UserError(
            f"the tokenizer of {model.path} has {len(tokenizer)} tokens: its vocabulary file is missing. "
            "Put tokenizer.json or tokenizer.model into the folder."
        )
    return tokenizer


def load_model(
    model: ModelConfig, attention: str | None = None, quantization: BitsAndBytesConfig | None = None
) -> PreTrainedModel:
    """The causal language model in evaluation mode on `device()`.

    Args: attention: transformers' name of an implementation; quantization: linear layers in 4 bits.
    Raises: UserError where it is absent, gated or damaged.
    """
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model.path,
            revision=model.revision,
            dtype=resolve_dtype(model),
            attn_implementation=attention,
            quantization_config=quantization,
            device_map={"": _device_name()} if quantization else None,  # quantised while they are loaded
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"no model could be loaded from {model.path}: {str(error).splitlines()[0]}\n"
            "Name a folder with config.json and weights, or a hub id that you may read "
            "(gated models: accept the licence on the hub and set HF_TOKEN)."
        ) from error
    return loaded.eval() if quantization else loaded.eval().to(device())


def _device_name() -> str:
    return f"cuda:{torch.cuda.current_device()}" if device().type == "cuda" else "cpu"
