"""`selectit plan --price`: hours, memory, disk and judge calls of what is not done, with every assumption named.

Reads a plan, its states and manifests; imports torch only where a matmul is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selectit.config import SelectStage
from selectit.cost.kept import Kept
from selectit.cost.speed import DECODE_SHARE, DeviceSpeed, device_name, finished_seconds
from selectit.cost.work import Work, work_of
from selectit.plan.graph import Plan, Stage
from selectit.plan.status import State
from selectit.store.runs_folder import Store

NO_SPEED = "no finished stage like it on this device; give --tflops, or --measure"


@dataclass(frozen=True)
class StagePrice:
    """One stage that is not done."""

    title: str
    work: Work
    seconds: float | None
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class PlanPrice:
    lines: tuple[StagePrice, ...]
    num_done: int
    assumptions: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of the stages whose time is known."""
        return sum(line.seconds or 0.0 for line in self.lines)

    @property
    def num_unknown(self) -> int:
        return sum(line.seconds is None for line in self.lines)

    @property
    def disk_bytes(self) -> float:
        return sum(line.work.disk_bytes or 0.0 for line in self.lines)

    @property
    def memory_bytes(self) -> float:
        return max((line.work.memory_bytes or 0.0 for line in self.lines), default=0.0)

    @property
    def judge_calls(self) -> int:
        return sum(line.work.judge_calls for line in self.lines)

    @property
    def judge_usd(self) -> float | None:
        """Of the judged stages whose judge states its prices; None where none does."""
        known = [line.work.judge_usd for line in self.lines if line.work.judge_usd is not None]
        return sum(known) if known else None


def price(plan: Plan, states: Mapping[Stage, State], store: Store, stated: DeviceSpeed | None) -> PlanPrice:
    """Args: stated: a speed that counts for every stage; None: that of finished stages on this device."""
    device = device_name()
    on_gpu = device != "cpu" if stated is None else stated.on_gpu
    assumptions: dict[str, None] = {}
    lines = []
    for stage in plan.stages:
        if states[stage].status == "done":
            continue
        work = work_of(stage, on_gpu, Kept.of(stage, states[stage], store))
        assumptions.update(dict.fromkeys(work.assumed))
        seconds, how = _seconds(stage, work, store, device, stated)
        assumptions.update(dict.fromkeys([how] if how else []))
        unknown = work.unknown if work.unknown or seconds is not None else (NO_SPEED,)
        lines.append(StagePrice(plan.title(stage), work, seconds, unknown))
    general = [
        "2 operations per weight of a matrix and token forward, 6 in full training, 4 in LoRA training and 6 for the "
        "adapter, 2 more with gradient checkpointing; attention as its matrix products, without what a kernel skips",
        f"memory: weights in {'16 bits' if on_gpu else '32 bits'} unless model.dtype is set, activations, keys "
        "and values; not the library's own",
        "one stage after the other, as selectit run does; loading of models and selections are not counted",
    ]
    return PlanPrice(tuple(lines), len(plan.stages) - len(lines), (*assumptions, *(general if lines else ())))


def _seconds(
    stage: Stage, work: Work, store: Store, device: str, stated: DeviceSpeed | None
) -> tuple[float | None, str | None]:
    if isinstance(stage.config, SelectStage):
        return (0.0, None) if not work.unknown else (None, None)
    if stated is not None:
        if work.prompt_flops is None or work.decode_flops is None:
            return None, None
        seconds = stated.seconds(work.prompt_flops + work.decode_flops / DECODE_SHARE)
        return seconds, f"speed: {stated}; written tokens at {DECODE_SHARE:.0%} of that"
    found = finished_seconds(stage, work, store, device)
    return found if found is not None else (None, None)
