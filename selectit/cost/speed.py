"""How many operations a second a device does: from finished stages, from what the user states, or from a short matmul.

Reads manifests; torch is imported for the matmul only.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selectit.config import FinetuneStage, LossStage, ScoreStage
from selectit.cost.work import Work
from selectit.errors import UserError
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Stage
from selectit.store.fingerprint import canonical_json, identity
from selectit.store.runs_folder import Store

DECODE_SHARE = 0.1
"""Of the speed of reading: a written token passes every weight through memory once for each step."""
MATMUL_SECONDS = 1.0
GPU_MATMUL, CPU_MATMUL = 8192, 1024


@dataclass(frozen=True)
class DeviceSpeed:
    """Operations a second at the peak, and the share of it that a stage reaches; 1 where the stage itself was timed."""

    peak_flops: float
    utilisation: float
    how: str
    on_gpu: bool

    def seconds(self, flops: float) -> float:
        return flops / (self.peak_flops * self.utilisation)

    def __str__(self) -> str:
        return self.how if self.utilisation == 1 else f"{self.how}, of which {self.utilisation:.0%} is reached"


def stated(tflops: float, utilisation: float) -> DeviceSpeed:
    """Raises: UserError for a peak or a share of it that cannot be."""
    if not 0 < utilisation <= 1 or tflops <= 0:
        raise UserError(
            f"--tflops {tflops:g} --utilisation {utilisation:g}: the peak must be above 0, and the share of it that is "
            "reached between 0 and 1, such as 0.4"
        )
    return DeviceSpeed(tflops * 1e12, utilisation, f"{tflops:g} TFLOP/s of a GPU stated", on_gpu=True)


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
    config, hashed, ran = stage.config, manifest["identity"]["config"], manifest["config"]
    if isinstance(config, ScoreStage | LossStage | FinetuneStage | EvaluateStage):
        try:
            model = identity(config.model, store.hasher)
        except UserError:
            return False
        if canonical_json(model) != canonical_json(hashed["model"]):
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
    return work.num_tokens / per_second if per_second else None


def measure(utilisation: float) -> DeviceSpeed:
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
    return DeviceSpeed(
        peak, utilisation, f"a matmul of {size} x {size} on {name} did {peak / 1e12:.3g} TFLOP/s", on_gpu
    )
