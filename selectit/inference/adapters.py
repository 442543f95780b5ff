"""Loading PEFT adapters, whole or not at all: PEFT itself only warns of weights that are missing, and drops others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.utils import load_peft_weights, set_peft_model_state_dict
from safetensors import SafetensorError
from transformers import PreTrainedModel

from selectit.errors import UserError
from selectit.inference.checkpoint import shown, wrapper

_NAME = "default"


def load_adapter(base: PreTrainedModel, adapter: str | Path, base_name: str) -> PeftModel:
    """The adapter on its base, in evaluation mode.

    Args:   adapter: folder or hub id.
    Raises: UserError where it is absent or damaged, does not fit on the base, or its keys are not those of the modules
            that adapter_config.json names.
    """
    try:
        adapted = PeftModel.from_pretrained(base, str(adapter), adapter_name=_NAME).eval()
        config: Any = adapted.peft_config[_NAME]
        if config.is_prompt_learning:
            return adapted
        weights = load_peft_weights(str(adapter), device="cpu")
        report: Any = set_peft_model_state_dict(adapted, weights, _NAME)  # once more, for the report that PEFT drops
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the adapter {adapter} does not fit on {base_name}, or is damaged: {str(error).splitlines()[0]}"
        ) from error
    marks = (PEFT_TYPE_TO_PREFIX_MAPPING.get(config.peft_type, ""), "modules_to_save")
    missing = [key for key in report.missing_keys if _is_the_adapters(key, marks)]
    _refuse(adapter, base_name, missing, report.unexpected_keys, weights)
    return adapted


def _is_the_adapters(key: str, marks: Iterable[str]) -> bool:
    return f".{_NAME}" in key and any(mark and mark in key for mark in marks)


def _refuse(
    adapter: str | Path, base_name: str, missing: list[str], unexpected: list[str], weights: Iterable[str]
) -> None:
    cause = wrapper(key.removeprefix("base_model.model.") for key in weights)
    cure = cause or "adapter_config.json or the base is not that of these weights"
    if missing:
        raise UserError(
            f"the adapter {adapter} lacks {len(missing)} weights that its adapter_config.json asks for on {base_name} "
            f"({shown(missing)}): {cure}"
        )
    if unexpected:
        raise UserError(
            f"the adapter {adapter} holds {len(unexpected)} weights that {base_name} has no place for "
            f"({shown(unexpected)}): {cure}"
        )
