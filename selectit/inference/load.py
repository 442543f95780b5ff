"""Loading checkpoints: device, dtype, tokenizer and model, with errors that name the cure."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.inference.checkpoint import damage
from selectit.inference.loading_report import refuse_incomplete
from selectit.inference.memory import is_out_of_memory

logging.disable_progress_bar()  # one bar per stage is drawn, by the tracker

_CANNOT_BE_READ = (
    OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError, ImportError,
)  # fmt: skip


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
            "A model folder needs tokenizer.json or tokenizer.model and tokenizer_config.json next to config.json."
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
    """The causal language model in evaluation mode on `device()`, or spread as `device_map` says.

    Args: attention: transformers' name of an implementation; quantization: linear layers in 8 or 4 bits.
    Raises: UserError where it is absent, gated, damaged or incomplete, or does not fit.
    """
    try:
        loaded = _load(
            model,
            attn_implementation=attention,
            # None would make transformers overlook that a checkpoint is quantised itself
            **({"quantization_config": quantization} if quantization is not None else {}),
            **_placing(model, quantization is not None or _is_quantised(model)),
        )
        loaded = loaded.eval()
        if model.device_map == "none" and not quantization and not getattr(loaded, "is_quantized", False):
            loaded = loaded.to(device())
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the weights of {model.path} do not fit on one GPU in {resolve_dtype(model)}. device_map: auto of the "
            "model lays its layers on all GPUs of the machine (docs/cluster.md)."
        ) from error
    if loaded.device.type == "meta":
        raise UserError(
            f"max_memory {model.max_memory} does not even hold the token embeddings of {model.path}; raise it"
        )
    return loaded


def load_outline(model: ModelConfig) -> PreTrainedModel:
    """The model on the meta device, its weights found and not read.

    Raises: UserError where it is absent, gated, damaged or incomplete.
    """
    return _load(model, device_map="meta")


def _load(model: ModelConfig, **placing: Any) -> PreTrainedModel:
    """Raises: UserError where weights cannot be read, are missing or do not belong there."""
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            model.path,
            revision=model.revision,
            dtype=resolve_dtype(model),
            ignore_mismatched_sizes=True,  # refused below, with the names
            output_loading_info=True,
            **placing,
        )
    except _CANNOT_BE_READ as error:
        if is_out_of_memory(error):
            raise
        raise _not_loaded(model, error) from error
    loaded, report = found
    refuse_incomplete(loaded, model.path, report)
    return loaded


def _not_loaded(model: ModelConfig, error: Exception) -> UserError:
    if found := damage(Path(model.path)):
        return UserError("\n".join(found))
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"no model could be loaded from {model.path}: {reason}\n"
        "Name a folder with config.json and weights, or a hub id that you may read "
        "(gated models: accept the licence on the hub and set HF_TOKEN)."
    )


def load_skeleton(model: ModelConfig) -> PreTrainedModel:
    """The model from its configuration alone, on the meta device.

    Raises: UserError where its configuration is absent.
    """
    try:
        architecture = AutoConfig.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"no configuration could be read from {model.path}: {str(error).splitlines()[0]}\n"
            "Name a folder with config.json, or a hub id that you may read."
        ) from error
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(architecture, dtype=resolve_dtype(model)).eval()


def _is_quantised(model: ModelConfig) -> bool:
    """Whether the checkpoint itself is: such weights are loaded where they will be used."""
    try:
        found = AutoConfig.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError, KeyError):
        return False  # from_pretrained says it
    return getattr(found, "quantization_config", None) is not None and model.device_map == "none"


def _placing(model: ModelConfig, quantized: bool) -> dict[str, Any]:
    """What transformers is given for where the weights go while they are loaded."""
    if quantized:  # while they are loaded
        return {"device_map": {"": f"cuda:{torch.cuda.current_device()}" if device().type == "cuda" else "cpu"}}
    if model.device_map == "none":
        return {}
    if model.max_memory is None:
        return {"device_map": "auto"}
    limits: dict[int | str, Any] = dict.fromkeys(range(torch.cuda.device_count()), model.max_memory)
    limits["cpu"] = psutil.virtual_memory().available if limits else model.max_memory
    return {"device_map": "auto", "max_memory": limits}


def placement(model: Any) -> list[str]:
    """Where a loaded model's weights lie, such as cuda:0, cuda:1, cpu; `disk` where they are read for each batch."""
    spread = getattr(model, "hf_device_map", {"": model.device})
    return list(dict.fromkeys(f"cuda:{place}" if isinstance(place, int) else str(place) for place in spread.values()))


def is_offloaded(model: Any) -> bool:
    """Whether weights come to their device for each batch and leave it again."""
    return any(parameter.device.type == "meta" for parameter in model.parameters())


def num_embeddings(model: Any) -> int:
    """Rows of the input embedding: ids from 0 to one less can be read. Also of a skeleton, or of ZeRO-3's shares."""
    embedding = model.get_input_embeddings()
    return getattr(embedding, "num_embeddings", None) or embedding.weight.shape[0]


def refuse_ids_beyond_embedding(tokenizer: Any, model: Any, texts: Iterable[Iterable[int]] = ()) -> None:
    """Token ids without a row in the embedding, before anything is computed. For scoring, losses, training (rows'
    input_ids) and evaluation alike; `load_skeleton` gives a model for it that costs nothing.

    Added tokens that no text has may lie beyond the embedding, as in Gemma 3; the tokenizer's own pieces may not.

    Args:   texts: token ids of all that will be read; looked at only where the tokenizer has ids beyond.
    Raises: UserError with both sizes and the first such token.
    """
    rows, added = num_embeddings(model), set(tokenizer.get_added_vocab().values())
    beyond = {number for number in tokenizer.get_vocab().values() if number >= rows}
    if not beyond:
        return
    used = beyond - added or {number for ids in texts for number in ids if number >= rows}
    if used:
        first = int(min(used))
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path} has {len(tokenizer)} ids and the embedding of "
            f"{model.name_or_path} {rows} rows: {tokenizer.decode([first])!r} is id {first}, which the "
            "model cannot read. Use the tokenizer that belongs to these weights, or the checkpoint whose embedding "
            "was resized for it"
        )


def refuse_not_finite(logits: torch.Tensor, model: Any) -> None:
    """Whoever reads logits calls this first: of NaN, every choice is the first one and every text the same.

    Raises: UserError with the model's name and number type.
    """
    if not torch.isfinite(logits).all():
        raise not_finite(getattr(model, "name_or_path", "the model"), str(model.dtype).removeprefix("torch."))


def not_finite(name: str, dtype: str) -> UserError:
    cure = "float32 (--dtype)" if dtype == "bfloat16" else "bfloat16 or float32 (--dtype)"
    overflow = f"numbers overflow in {dtype}: set model.dtype to {cure}, or " if dtype != "float32" else ""
    return UserError(
        f"{name} gives logits that are NaN or infinite in {dtype}: {overflow}its weights are damaged: download or save "
        "the checkpoint again"
    )
