"""A model's weights before and after training: loading and saving.

ZeRO-3 leaves each process a share of every weight; here they are gathered where they are needed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from selectit.config import FinetuneStage
from selectit.data.whole_files import part_of
from selectit.finetune.arguments import quantization
from selectit.finetune.card import CARD_FILE
from selectit.finetune.processes import rank, wait_for_all
from selectit.inference.kernels import training_attention
from selectit.inference.load import load_model, resolve_dtype
from selectit.templates.form import Form


def load_for_training(config: FinetuneStage) -> PreTrainedModel:
    """A base that is not trained stands in `model.dtype` (with qlora in 4 bits), and so does what DeepSpeed trains,
    which keeps a float32 copy of its own; other weights that are trained are float32.
    """
    model = config.model.model_copy(update={"device_map": "none", "max_memory": None})  # DeepSpeed shares weights out
    attention = training_attention(config.finetune.packing, resolve_dtype(config.model))
    if config.finetune.method == "qlora":
        return load_model(model, attention, quantization(config))
    if config.finetune.method == "lora" or config.finetune.deepspeed != "none":
        return load_model(model, attention)
    return load_model(model.model_copy(update={"dtype": "float32"}), attention)


@contextmanager
def gathered_layer_by_layer(model: nn.Module) -> Iterator[None]:
    """Each layer's weights are whole while it computes, so that the model need not fit on one device.

    DeepSpeed does the same once its engine has the model; before that ZeRO-3's shares cannot compute.
    """
    hooks = []
    for module in model.modules():
        shares = [p for p in module.parameters(recurse=False) if hasattr(p, "ds_id")]
        if shares:
            hooks += _gather_around(module, shares)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _gather_around(module: nn.Module, shares: list[nn.Parameter]) -> list[Any]:
    import deepspeed

    context = deepspeed.zero.GatheredParameters(shares)
    return [
        module.register_forward_pre_hook(lambda *_: context.__enter__()),
        module.register_forward_hook(lambda *_: context.__exit__(None, None, None), always_call=True),
    ]


def set_ends(model: PreTrainedModel, form: Form) -> None:
    """Generation ends with the token that ends a turn in training, or with whatever ended it before."""
    settings: Any = model.generation_config
    before = settings.eos_token_id
    ends = [before] if isinstance(before, int) else list(before or [])
    settings.eos_token_id = list(dict.fromkeys([form.end_id, *ends]))
    if settings.pad_token_id is None:
        settings.pad_token_id = form.end_id


def save_weights(trainer: Any, folder: Path, dtype: torch.dtype | None) -> None:
    """Adapter or model with the tokenizer, whole, from the first process; every process must ask.

    What lies in the folder and is not written anew, such as somebody's notes, stays there.

    Args: dtype: converts the weights first; None: as they are.
    """
    part = part_of(folder)
    if rank() == 0:
        shutil.rmtree(part, ignore_errors=True)
    wait_for_all()
    if dtype is not None:
        trainer.model.to(dtype)
    trainer.save_model(str(part))
    wait_for_all()
    if rank() == 0:
        (part / "training_args.bin").unlink(missing_ok=True)  # a pickle of this machine's paths
        (part / CARD_FILE).unlink(missing_ok=True)  # PEFT's stub
        put_in_place(part, folder)
    wait_for_all()


def put_in_place(part: Path, folder: Path) -> None:
    """Files of the folder that are not in `part` stay."""
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        kept = part / path.relative_to(folder)
        if path.is_file() and not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, kept)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
