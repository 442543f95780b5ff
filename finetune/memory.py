"""Whether a training fits, before it starts: what it counts up to against what is free.

Refused on a CPU where the estimate is more than there is; on a GPU, where it is counted and not measured, where the
least is, and noted where the estimate is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import torch

from selectit.config import FinetuneConfig, FinetuneStage
from selectit.errors import UserError
from selectit.finetune.sampler import StepOrder
from selectit.inference.load import device
from selectit.inference.shape import bytes_per_parameter, shape_of
from selectit.inference.training_memory import TrainingMemory, training_memory

GIB = 2**30
M_MMAP_THRESHOLD = -3
"""Of malloc.h."""


@dataclass(frozen=True)
class Room:
    """Bytes for one process. On a CPU what is offloaded takes from the same."""

    on_device: float
    on_node: float

    def holds(self, on_device: float, offloaded: float) -> bool:
        if device().type == "cpu":
            return on_device + offloaded <= self.on_device
        return on_device <= self.on_device and offloaded <= self.on_node


def room_at_all(finetune: FinetuneConfig) -> Room:
    """What this machine would offer if nothing else ran; all processes here."""
    node = psutil.virtual_memory().total / finetune.num_processes
    return Room(torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else node, node)


def room_now() -> Room:
    """What is free, shared by the processes of this node; what PyTorch keeps in reserve is free too."""
    node = psutil.virtual_memory().available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        return Room(node, node)
    return Room(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated(), node)


def steady_allocation() -> None:
    """Have glibc give every tensor of 1 MiB or more pages of its own, which go back when it is freed.

    By itself it keeps tensors of up to 32 MiB in its heap, where the gaps that training leaves cost half as much
    again. On a GPU PyTorch has an allocator of its own.
    """
    if device().type == "cpu" and sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from musl
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 2**20)


def largest_pass(order: StepOrder, packing: bool) -> int:
    """Positions of the largest forward pass of the first epoch."""
    lengths = order.lengths
    passes = [[lengths[row] for row in rows] for step in order.passes(0) for rows in step]
    return max(sum(rows) if packing else len(rows) * max(rows) for rows in passes)


def check_memory(config: FinetuneStage, room: Room, positions: int = 0) -> str | None:
    """Args: positions: of the largest pass; 0: weights, gradients and optimizer only.

    Returns: a note where the training may not fit, or is not known to; None where it does.
    Raises: UserError where it cannot fit, with the first setting that would.
    """
    try:
        shape = shape_of(config.model)
    except UserError as error:
        return f"fine-tune: memory was not estimated: {str(error).splitlines()[0]}"
    width = bytes_per_parameter(config.model, device().type == "cuda")

    def needed(finetune: FinetuneConfig) -> TrainingMemory:
        # a smaller micro batch makes its largest pass shorter by as much
        scale = finetune.micro_batch_size / config.finetune.micro_batch_size
        return training_memory(shape, finetune, width, positions * scale, device().type == "cuda")

    memory = needed(config.finetune)
    if room.holds(memory.expected, memory.offloaded):
        return None
    what = f"{_size(memory.expected)} expected, {_size(memory.least)} at the least{_offloaded(memory)}"
    free = f"{_size(room.on_device)} for each process on the {'GPU' if device().type == 'cuda' else 'node'}"
    # on a CPU the estimate is tested against processes, and memory that runs out takes others with it
    if device().type == "cuda" and room.holds(memory.least, memory.offloaded):
        return f"fine-tune: memory may not suffice: {what}, and there is {free}"
    raise UserError(
        f"this training does not fit: {what} (weights {_size(memory.weights)}, gradients {_size(memory.gradients)}, "
        f"optimizer {_size(memory.optimizer)}, activations {_size(memory.activations)}), and there is {free}. "
        f"{_what_would_fit(config.finetune, room, needed)}"
    )


def _what_would_fit(finetune: FinetuneConfig, room: Room, needed: Callable[[FinetuneConfig], TrainingMemory]) -> str:
    for change, settings in _alternatives(finetune):
        memory = needed(finetune.model_copy(update=settings))
        if room.holds(memory.expected, memory.offloaded):
            return f"What would fit: {change}, {_size(memory.expected)} expected{_offloaded(memory)}."
    return "No other setting fits either; it takes more or larger devices, or a smaller model."


def _alternatives(finetune: FinetuneConfig) -> Iterator[tuple[str, dict[str, object]]]:
    """Those that leave the result alone first, those that change it most last."""
    saved: dict[str, object] = {} if finetune.gradient_checkpointing else {"gradient_checkpointing": True}
    also = ", finetune.gradient_checkpointing true" if saved else ""
    if saved:
        yield "finetune.gradient_checkpointing true", saved
    if finetune.micro_batch_size > 1:
        yield f"finetune.micro_batch_size 1{also}", {"micro_batch_size": 1, **saved}
    smallest = {"micro_batch_size": 1, **saved}
    change = f", finetune.micro_batch_size 1{also}"
    if finetune.method != "qlora":
        launcher = "" if finetune.launcher != "none" else " with finetune.launcher torchrun"
        for word in ("zero2", "zero3", "zero2_offload", "zero3_offload"):
            yield f"finetune.deepspeed {word}{launcher}{change}", {"deepspeed": word, **smallest}
    if finetune.method == "full":
        yield f"finetune.method lora{change}", {"method": "lora", "deepspeed": "none", **smallest}
    if finetune.method != "qlora":
        yield f"finetune.method qlora{change}", {"method": "qlora", "deepspeed": "none", **smallest}


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.2f} MiB"


def _offloaded(memory: TrainingMemory) -> str:
    return f" and {_size(memory.offloaded)} in the node's memory" if memory.offloaded else ""
