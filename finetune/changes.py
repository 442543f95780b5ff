"""How much of the saved weights training has changed: the proof that it changed anything, on the numbers that are kept.

In half precision a step smaller than half of a weight's last digit is rounded away: at a learning rate of 1e-6 in
bfloat16 nearly every saved weight can equal the base's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.utils import cached_file

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.finetune.arguments import adapter_folder
from selectit.finetune.run_file import TrainingRun
from selectit.store.trained_on import weight_files

SMALL_SHARE = 0.5
"""Of changed weights, below which the card and the report give advice."""
Find = Callable[[str], torch.Tensor | None]


def changed_share(run: TrainingRun) -> float:
    """Share of the saved weights that differ from what training started with, in the number type they are saved in.

    Of an adapter its B matrices and the modules that are saved whole count: A starts at random, and without B it has no
    effect.

    Raises: UserError where none differs.
    """
    changed, total = 0, 0
    with ExitStack() as stack:
        before = _before(run, stack)
        for name, tensor in _saved(run.weights):
            if run.stage.finetune.trains_adapter and "lora_A" in name:
                continue
            old = before(name)
            if old is None and "lora_" in name:
                old = torch.zeros_like(tensor)  # a new B
            if old is None or old.shape != tensor.shape:
                continue
            changed += int((tensor != old.to(tensor.dtype)).sum())
            total += tensor.numel()
    if not changed:
        finetune = run.stage.finetune
        raise UserError(
            f"training left the saved weights as they were: all {total} equal those before it. {advice(finetune)}, or "
            "train for more steps: the first step of a warmup has a learning rate of 0."
        )
    return changed / total


def advice(finetune: FinetuneConfig) -> str:
    return f"Raise finetune.learning_rate ({finetune.learning_rate:g}), or set model.dtype to float32"


def share_text(share: float, dtype: str, finetune: FinetuneConfig) -> str:
    """A sentence for the card and the report."""
    text = f"{share:.1%} of the trained weights differ from those before training, as they are saved"
    if share >= SMALL_SHARE or finetune.trains_adapter:
        return text
    return f"{text}: steps that {dtype} cannot hold were rounded away. {advice(finetune)}."


def _saved(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, not a dict
                yield name, tensors.get_tensor(name)


def _before(run: TrainingRun, stack: ExitStack) -> Find:
    """From the name of a saved tensor to what it was: in the adapter that training went on from, or in the base."""
    stage = run.stage
    files = weight_files(stage.model)
    if stage.finetune.adapter is not None:
        files = [*_adapter_weights(adapter_folder(stage)), *files]
    found: dict[str, Callable[[], torch.Tensor]] = {}
    for path in files:
        if path.suffix == ".safetensors":
            opened = stack.enter_context(safe_open(path, "pt"))
            for name in opened.keys():  # noqa: SIM118, not a dict
                found.setdefault(_bare(name), lambda o=opened, n=name: o.get_tensor(n))  # type: ignore[misc]
        else:
            loaded = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            for name, tensor in loaded.items():
                found.setdefault(_bare(name), lambda t=tensor: t)  # type: ignore[misc]
    return lambda name: get() if (get := found.get(_bare(name))) is not None else None


def _adapter_weights(folder: str) -> list[Path]:
    found = cached_file(folder, "adapter_model.safetensors")
    assert found is not None, folder
    return [Path(found)]


def _bare(name: str) -> str:
    """Without what PEFT writes in front of a module that it saves whole."""
    return name.removeprefix("base_model.model.")
