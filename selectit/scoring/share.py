"""One of several processes that share the work of a score or losses stage, on any nodes.

`srun --ntasks-per-node=1 python -m selectit.scoring.share FOLDER/ledger/task.json`, or the same under torchrun or
accelerate. A process that is alone on its node uses all of its GPUs or cores; one of several there uses one GPU.
Libraries are imported inside of functions: what `prepare_process` sets is read when they are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console

from selectit.config import ScoreStage
from selectit.environment import prepare_process
from selectit.errors import UserError

if TYPE_CHECKING:
    from selectit.scoring.work import ShareTask


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, over all nodes and on its own."""

    rank: int
    world_size: int
    local_rank: int
    num_local: int


def place_in(environment: Mapping[str, str]) -> Place:
    """What torchrun and accelerate, or else srun, say; without them one process does everything."""
    if "RANK" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Place(*(int(environment[name]) for name in names))
    if "SLURM_PROCID" in environment:
        # such as 8(x2) or 8,7: tasks on each node of the step
        on_nodes = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
        return Place(
            int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"]), int(environment["SLURM_LOCALID"]),
            int(on_nodes[0]) if on_nodes else 1,
        )  # fmt: skip
    return Place(0, 1, 0, 1)


def read_task(file: Path) -> ShareTask:
    """Raises: UserError where the file is absent or not one that a stage wrote."""
    from selectit.scoring.work import ShareTask

    try:
        return ShareTask.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{file} does not exist: the stage writes it, and removes it when all is computed; run its command again"
        ) from error
    except ValidationError as error:
        raise UserError(f"{file} is not a task of a score or losses stage: {error}") from error


def main(file: Path) -> None:
    """Raises: UserError, see `read_task` and `selectit.scoring.stage.rate`."""
    from selectit.inference.load import take_gpu
    from selectit.scoring.ledger import PARTS
    from selectit.scoring.loss_stage import LossJob, take_losses
    from selectit.scoring.rating import Rating
    from selectit.scoring.stage import rate
    from selectit.tracking import Tracker

    task, place = read_task(file), place_in(os.environ)
    if place.num_local > 1:
        if task.stage.model.device_map == "auto":
            raise UserError(
                f"{place.num_local} processes were started on this node, and with device_map auto the model takes all "
                "of its GPUs; start one on each node"
            )
        take_gpu(place.local_rank)
    own = task.out / PARTS / f"log-{place.rank}"
    own.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    tracker = Tracker(own, Console(quiet=True) if place.rank else console)
    wanted = 1 if place.num_local > 1 else task.stage.num_processes
    share = (place.rank, place.world_size)
    if isinstance(task.stage, ScoreStage):
        done = rate(Rating(task.stage), task, tracker, wanted, share)
    else:
        done = take_losses(LossJob(task.stage, task.tuned), task, tracker, wanted, share)
    console.print(
        f"share {place.rank + 1} of {place.world_size}: {done.num_tokens:,} tokens in {done.seconds:.1f} s, "
        f"{done.facts.dtype} on {done.facts.device}",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    prepare_process()
    if len(sys.argv) != 2:
        sys.exit("usage: python -m selectit.scoring.share FOLDER/ledger/task.json")
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"error: {error}")
