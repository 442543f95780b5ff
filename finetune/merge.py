"""A training's adapter merged into its base, with a model card: `selectit merge`.

Reads an adapter folder; writes a checkpoint that plain transformers loads, in the number type of the base.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from selectit.config import ModelConfig
from selectit.data.whole_files import unfinished
from selectit.errors import UserError
from selectit.finetune.card import write_merged_card
from selectit.finetune.folders import find_adapter
from selectit.inference.load import load_tokenizer
from selectit.inference.merge import Agreement, Dtype, merge_weights
from selectit.store.names import TRAINED_ON_FILE
from selectit.store.trained_on import base_of, check_base


def merge(
    adapter: Path, out: Path, model: str | None = None, dtype: Dtype | None = None, revision: str | None = None
) -> Agreement:
    """Args: adapter: its folder, or that of a training; model, revision: the base; default: what the adapter names;
        dtype: of the merged weights; default: the base's own.

    Raises: UserError where `out` is not empty, adapter or base cannot be loaded, the base is another one than the
        training's, or the merged model does not agree.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name another --out")
    folder = find_adapter(adapter)
    base = base_of(str(folder), model, revision)
    config = base.model_copy(update={"dtype": dtype or _stored_dtype(base)})
    check_base(str(folder), config)
    tokenizer = load_tokenizer(ModelConfig(path=str(folder)) if _has_tokenizer(folder) else config)
    out = out.resolve()  # a link to an empty folder stays a link
    part = unfinished(out)
    shutil.rmtree(part, ignore_errors=True)
    agreement = merge_weights(folder, config, tokenizer, part)
    write_merged_card(part, folder, config, str(agreement))
    if (folder / TRAINED_ON_FILE).is_file():
        shutil.copyfile(folder / TRAINED_ON_FILE, part / TRAINED_ON_FILE)
    if out.exists():
        out.rmdir()
    part.rename(out)
    return agreement


def _stored_dtype(base: ModelConfig) -> Dtype:
    try:
        found = AutoConfig.from_pretrained(base.path, revision=base.revision).dtype
    except (OSError, ValueError) as error:
        raise UserError(
            f"the base {base.path} cannot be read: {str(error).splitlines()[0]}\nName where it is with --model."
        ) from error
    names: dict[Any, Dtype] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    return names.get(found, "float32")


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()
