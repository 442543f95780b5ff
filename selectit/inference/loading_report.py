"""Weights that a checkpoint lacks would be random, and those that its architecture has no place for would be left out:
both are refused. Reads what transformers reports of a loading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from selectit.errors import UserError
from selectit.inference.checkpoint import shown, wrapper

_OLD_BUFFERS = re.compile(r"\.(masked_bias|inv_freq|position_ids)$|\.(attn|attention)\.bias$")
"""What earlier releases of transformers saved with the weights and computes anew now: masks and positions."""


def refuse_incomplete(model: Any, path: str, report: Mapping[str, Any]) -> None:
    """Args:   report: transformers' `output_loading_info`.
    Raises: UserError with the first keys and their number, where weights are missing, of another shape, or have no
            place in layers that the model has.
    """
    missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
    name = type(model).__name__
    if missing:
        num_all = len(model.state_dict())
        cause = wrapper(unexpected)
        if cause is None:
            found = f"; keys that it holds instead: {shown(unexpected)}" if unexpected else ""
            cause = f"the file is incomplete, or config.json is that of another model{found}"
        raise UserError(
            f"{path} lacks {len(missing)} of the {num_all} weights of its {name} ({shown(missing)}), which would be "
            f"random: {cause}"
        )
    if mismatched := {key: shapes for key, *shapes in report["mismatched_keys"]}:
        first = min(mismatched)
        stored, wanted = (list(shape) for shape in mismatched[first])
        raise UserError(
            f"{path}: {len(mismatched)} weights have another shape than its config.json says ({shown(mismatched)}; "
            f"{first} is {stored} in the file and {wanted} by config.json); put the config.json of these weights there"
        )
    if homeless := {key for key in unexpected if _belongs_to_a_layer(model, key)}:
        raise UserError(
            f"{path} holds {len(homeless)} weights that its {name} has no place for ({shown(homeless)}) and would "
            "compute without: config.json is not that of these weights"
        )


def _belongs_to_a_layer(model: Any, key: str) -> bool:
    """Heads and towers next to the language model may be left out; parts of its layers may not.

    Quantized weights bring scales of their own, which their quantizer reads.
    """
    if _OLD_BUFFERS.search(key) or getattr(model.config, "quantization_config", None) is not None:
        return False
    module, path = model, []
    for part in key.split(".")[:-1]:
        module = getattr(module, part, None)
        if not isinstance(module, torch.nn.Module):
            break
        path.append(part)
    return bool(path) and path != [model.base_model_prefix]
