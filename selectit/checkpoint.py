"""What a checkpoint folder must hold, told by its file names: a check that needs no torch."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


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
    return faults
