"""How many operations a second a device does: from finished stages, from what the user states, or from a short matmul.

Reads manifests; torch is imported for the matmul only.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selectit.config import FinetuneStage, ScoreStage
from selectit.cost.work import Work
from selectit.errors import UserError
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference import flops
from selectit.inference.shape import shape_of
from selectit.inference.training_memory import adapter_parameters
from selectit.plan.graph import Stage
from selectit.store.artifact import Store
from selectit.store.fingerprint import canonical_json, identity

DECODE_SHARE = 0.1
"""Of the speed of reading: a written token passes every weight through memory once for each step."""
MATMUL_SECONDS = 1.0
GPU_MATMUL, CPU_MATMUL = 8192, 1024


@dataclass(frozen=True)
class Stated:
    """Operations a second at the peak, and the share of it that a stage reaches."""

    peak_flops: float
    utilisation: float
    how: str
    on_gpu: bool

    def seconds(self, work: Work) -> float | None:
        if work.prompt_flops is None or work.decode_flops is None:
            return None
        return (work.prompt_flops + work.decode_flops / DECODE_SHARE) / (self.peak_flops * self.utilisation)


def device_name() -> str:
    """As manifests have it: the first GPU, or `cpu`."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    return answer.stdout.splitlines()[0].strip() if answer.stdout.strip() else "cpu"


def finished_seconds(stage: Stage, work: Work, store: Store, device: str) -> tuple[float, str] | None:
    """Seconds by the newest finished stage of the same kind, model and shape of work on this device."""
    alike = [
        manifest
        for manifest in store.manifests(stage.kind)
        if _on(manifest, device) and _is_alike(stage, manifest, store) and work.flops is not None
    ]
    if not alike:
        return None
    newest = max(alike, key=lambda manifest: manifest["finished"])
    seconds = _scaled(stage, work, newest)
    return (
        None
        if seconds is None
        else (seconds, f"{stage.kind}: as fast as {newest['kind']}-{newest['fingerprint'][:16]}")
    )


def _on(manifest: Mapping[str, Any], device: str) -> bool:
    return manifest["device"].split(",")[0] == device


def _is_alike(stage: Stage, manifest: Mapping[str, Any], store: Store) -> bool:
    config, told, ran = stage.config, manifest["identity"]["config"], manifest["config"]
    if isinstance(config, ScoreStage | FinetuneStage | EvaluateStage):
        try:
            model = identity(config.model, store.hasher)
        except UserError:
            return False
        if canonical_json(model) != canonical_json(told["model"]):
            return False
    if isinstance(config, FinetuneStage):
        same = ("method", "gradient_checkpointing", "micro_batch_size", "max_length")
        return all(getattr(config.finetune, name) == ran["finetune"][name] for name in same)
    if isinstance(config, EvaluateStage):
        names = ("name", "num_fewshot", "max_gen_toks", "num_samples")
        return all(getattr(config.benchmark, name) == ran["benchmark"][name] for name in names)
    return True


def _scaled(stage: Stage, work: Work, manifest: Mapping[str, Any]) -> float | None:
    metrics, config = manifest["metrics"], stage.config
    if isinstance(config, EvaluateStage):
        items = metrics.get("num_items")
        return manifest["seconds"] * work.num_items / items if items else None
    per_second = metrics.get("tokens_per_second")
    if not per_second or work.prompt_flops is None:
        return None
    shape = shape_of(config.model)  # type: ignore[union-attr]
    per_token = flops.forward_flops(shape.num_parameters, 1)
    if isinstance(config, FinetuneStage):
        adapter = adapter_parameters(shape, config.finetune)
        per_token = flops.training_flops(shape.num_parameters, adapter, 1, config.finetune.gradient_checkpointing)
    return work.prompt_flops / per_token / per_second


def measure(utilisation: float) -> Stated:
    """A square matmul on the device for a second: its peak in practice, bfloat16 on a GPU and float32 on a CPU."""
    import torch

    on_gpu = torch.cuda.is_available()
    size, device = (GPU_MATMUL, "cuda") if on_gpu else (CPU_MATMUL, "cpu")
    a = torch.randn(size, size, dtype=torch.bfloat16 if on_gpu else torch.float32, device=device)
    a @ a  # the first call picks a kernel
    count, started = 0, time.monotonic()
    while time.monotonic() - started < MATMUL_SECONDS:
        a @ a
        if on_gpu:
            torch.cuda.synchronize()
        count += 1
    peak = count * 2 * size**3 / (time.monotonic() - started)
    name = torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads"
    return Stated(peak, utilisation, f"a matmul of {size} x {size} on {name} did {peak / 1e12:.3g} TFLOP/s", on_gpu)
