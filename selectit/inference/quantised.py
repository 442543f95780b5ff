"""Raters in 8 or 4 bits: weights that are quantised while they are loaded (bitsandbytes), and checkpoints that are
already (GPTQ, AWQ and what else transformers loads).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import AutoConfig, BitsAndBytesConfig
from transformers.quantizers import AutoHfQuantizer

from selectit.config import LossStage, ModelConfig, Quantization, ScoreStage
from selectit.errors import UserError
from selectit.inference.load import device, resolve_dtype
from selectit.inference.shape import dtype_name


def bitsandbytes_config(bits: Quantization, model: ModelConfig) -> BitsAndBytesConfig | None:
    """4 bits are NormalFloat, their scales quantised again, products in the model's dtype (QLoRA, arXiv 2305.14314)."""
    if bits == "none":
        return None
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=resolve_dtype(model),
    )


def method_of(model: ModelConfig) -> str | None:
    """What a checkpoint is quantised with, such as gptq; None where it is not."""
    settings = _settings(model)
    return None if settings is None else str(settings.get("quant_method", "bitsandbytes"))


def is_quantised(model: Any) -> bool:
    """Whether the weights of a loaded model are packed, whichever library did it."""
    return getattr(model, "hf_quantizer", None) is not None


def rounds_with_others(model: Any) -> bool:
    """Whether a text has other numbers next to other texts: LLM.int8 keeps the columns in 16 bits in which any token of
    the batch is large (arXiv 2208.07339)."""
    quantizer = getattr(model, "hf_quantizer", None)
    return bool(getattr(getattr(quantizer, "quantization_config", None), "load_in_8bit", False))


def check_quantization(config: ScoreStage | LossStage) -> None:
    """Call this before weights are loaded.

    Raises: UserError where the package, the GPU or the form of the checkpoint that a quantised rater needs is not here.
    """
    bits, model = config.quantization, config.model
    settings = _settings(model)
    if bits != "none":
        if settings is not None:
            raise UserError(
                f"score.quantization is {bits}, and {model.path} is quantised already ({method_of(model)}); set "
                "score.quantization to none"
            )
        if model.device_map == "auto":
            raise UserError(
                f"score.quantization is {bits}, and device_map of {model.path} is auto: quantised weights are loaded "
                "onto one GPU; set device_map to none"
            )
        if importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(
                f"score.quantization {bits} needs the package bitsandbytes, which is not installed: "
                "pip install -c constraints.txt -e '.[qlora]'"
            )
        return
    if settings is None:
        return
    place = {"": device().type}
    try:
        AutoHfQuantizer.from_config(settings, pre_quantized=True).validate_environment(
            dtype=resolve_dtype(model), device_map=place, weights_only=True
        )
    except (ImportError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{model.path} is quantised ({method_of(model)}) and cannot be loaded here: {str(error).splitlines()[0]}"
        ) from error


def dtype_text(dtype: torch.dtype, bits: Quantization, model: ModelConfig) -> str:
    """See `dtype_name`."""
    return dtype_name(str(dtype).removeprefix("torch."), method_of(model) if bits == "none" else bits)


def _settings(model: ModelConfig) -> dict[str, Any] | None:
    try:
        found = AutoConfig.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError, KeyError):
        return None  # whoever loads the model says what is wrong
    settings = getattr(found, "quantization_config", None)
    if settings is None:
        return None
    return settings if isinstance(settings, dict) else dict(settings.to_dict())
