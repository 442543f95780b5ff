"""What a checkpoint folder must hold, judged by its file names and the headers of its weights: needs no torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
NUM_SHOWN = 3
WRAPPERS = {
    "_orig_mod.": "a model inside torch.compile",
    "_fsdp_wrapped_module.": "a model inside FSDP",
    "module.": "a model inside DistributedDataParallel or DeepSpeed",
    "base_model.model.": "a PEFT model, its adapter not merged",
}
"""What stands in front of every key of weights that were saved from a wrapped model -> what wrapped it."""

_INDEXES = {
    "model.safetensors": "model.safetensors.index.json",
    "pytorch_model.bin": "pytorch_model.bin.index.json",
}
"""The weights that transformers reads: the first of these files that is there, or the shards that its index names."""
_LFS = b"version https://git-lfs"


def missing_files(folder: Path) -> list[str]:
    """One sentence for each part that a model folder lacks; an empty list for a whole one."""
    faults = []
    if not (folder / "config.json").is_file():
        faults.append(f"{folder} has no config.json; name the folder of a Hugging Face checkpoint")
    if not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        faults.append(f"{folder} has no weights ({', '.join(WEIGHTS)})")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        faults.append(
            f"{folder} has no tokenizer; put one of {', '.join(TOKENIZERS)} (and tokenizer_config.json) into the folder"
        )
    return faults + _shards(folder)[1]


def damage(folder: Path) -> list[str]:
    """One sentence for each file of weights that is absent, cut off or not what its name says, or whose keys were
    saved from a wrapped model.
    """
    files, faults = _shards(folder)
    keys: list[str] = []
    for file in files if not faults else ():
        if file.suffix == ".safetensors":
            try:
                keys += _keys(file)
            except ValueError as error:
                faults.append(f"{file} is damaged: {error}; download or save the checkpoint again")
    if not faults and (cause := wrapper(keys)):
        faults.append(f"{folder}: {cause}")
    return faults


def _shards(folder: Path) -> tuple[list[Path], list[str]]:
    """The files of weights that transformers reads; and a sentence for each that is not there."""
    for name, index in _INDEXES.items():
        if (folder / name).is_file():
            files = [folder / name]
            break
        if (folder / index).is_file():
            try:
                named = json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"]
                files = sorted({folder / str(file) for file in named.values()})
            except (ValueError, KeyError, TypeError, AttributeError):
                return [], [f"{folder / index} is damaged: not an index of shards; download the checkpoint again"]
            break
    else:
        return [], []
    if absent := [file.name for file in files if not file.is_file()]:
        return files, [
            f"{folder} lacks {shown(absent)} of the {len(files)} files that {index} names; "
            "download the checkpoint again"
        ]
    return files, [
        f"{file} is only a git-lfs pointer to the weights; run git lfs pull in {folder}"
        for file in files
        if _starts_with(file, _LFS)
    ]


def _starts_with(file: Path, words: bytes) -> bool:
    with file.open("rb") as f:
        return f.read(len(words)) == words


def _keys(file: Path) -> list[str]:
    """Names of the tensors of a safetensors file, from its header.

    Raises: ValueError with what is wrong, where the file does not hold what its header says.
    """
    size = file.stat().st_size
    with file.open("rb") as f:
        first = f.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > size - 8:
            raise ValueError(f"its header is cut off at {size} bytes")
        try:
            header: dict[str, Any] = json.loads(f.read(length))
            header.pop("__metadata__", None)
            end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("its header cannot be read") from error
    if size != 8 + length + end:
        raise ValueError(f"it has {size:,} bytes and its header promises {8 + length + end:,}")
    return list(header)


def wrapper(keys: Iterable[str]) -> str | None:
    """What wrapped the model that these keys were saved from, in a sentence; None for the keys of a plain model."""
    keys = list(keys)
    for mark, what in WRAPPERS.items():
        wrapped = [key for key in keys if key.startswith(mark) or (mark.startswith("_") and mark in key)]
        if wrapped and len(wrapped) > len(keys) / 2:
            return (
                f"the keys of its weights have {mark!r} in them ({shown(wrapped)}): they were saved from {what}. Save "
                "the model that is inside, or take these words off the keys"
            )
    return None


def shown(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - NUM_SHOWN} more" if len(ordered) > NUM_SHOWN else ""
    return ", ".join(ordered[:NUM_SHOWN]) + more
