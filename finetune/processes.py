"""The processes of one training: how many there are, which one this is, and how they come to agree.

What torchrun, accelerate and deepspeed put into the environment is read here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.inference.load import device


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_number(finetune: FinetuneConfig) -> None:
    """Raises: UserError where a launcher started another number of processes than the settings ask for."""
    if num_processes() != finetune.num_processes:
        raise UserError(
            f"{num_processes()} training processes were started and finetune.num_processes is "
            f"{finetune.num_processes}: the accumulation was derived from the latter. Start as many, or set "
            "finetune.num_processes."
        )


def join_deepspeed() -> None:
    """Open DeepSpeed's process group on a CPU, which accelerate would take for a group of one.

    Called after SFTConfig and before the model: ZeRO-3 divides weights while they are loaded.
    """
    if device().type == "cuda":
        return
    import deepspeed

    # a kernel for shared memory that it would compile first, for minutes; gloo does the same work
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo")


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


def highest(value: float) -> float:
    """The highest of the values that the processes hold; every process must ask."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device())
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.item()


def gathered(values: Sequence[Any]) -> list[Any]:
    """The values of all processes, in the order of their ranks; every process must ask."""
    if not dist.is_initialized():
        return list(values)
    lists: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(lists, list(values))
    return [value for values in lists for value in values]
