"""`selectit doctor`: what this machine can do. Says whether keys are set, never what they are."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from selectit.tracking import wandb_mode

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm_eval", "wandb", "deepspeed")
KEYS = ("HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY")
HUB = ("huggingface.co", 443)
HUB_TIMEOUT_SECONDS = 3


def findings() -> list[tuple[str, str, str]]:
    """(subject, finding, what it means for a run) for each thing that a run depends on."""
    found = [
        ("python", platform.python_version(), ""),
        *(
            (name, _version(name), "" if _version(name) != "absent" or name == "deepspeed" else "run make setup")
            for name in LIBRARIES
        ),
        ("cpu", f"{os.cpu_count()} cores", ""),
        (
            "memory",
            f"{psutil.virtual_memory().available / 2**30:.0f} of {psutil.virtual_memory().total / 2**30:.0f} GiB free",
            "",
        ),
        ("disk", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here", ""),
        *_gpus(),
        _sandbox(),
        _hub(),
        (
            "W&B",
            wandb_mode(),
            "runs are kept under <runs>/wandb; `wandb sync` uploads them" if wandb_mode() == "offline" else "",
        ),
    ]
    return found + [(key, "set" if os.environ.get(key) else "not set", "") for key in KEYS]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _gpus() -> list[tuple[str, str, str]]:
    import torch

    if not torch.cuda.is_available():
        return [("gpu", "none", "everything runs on the CPU in float32; fit for the quickstart, not for 7B")]
    return [
        (f"gpu {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB", "")
        for index in range(torch.cuda.device_count())
        for properties in [torch.cuda.get_device_properties(index)]
    ]


def _sandbox() -> tuple[str, str, str]:
    from selectit.evaluate.grading.sandbox import unavailable

    reason = unavailable()
    return (
        ("sandbox", "bubblewrap works", "")
        if reason is None
        else ("sandbox", reason, "HumanEval is reported as not run")
    )


def _hub() -> tuple[str, str, str]:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "ON", "YES"):
        return ("hub", "switched off (HF_HUB_OFFLINE)", "models and data come from folders and the local cache")
    try:
        socket.create_connection(HUB, timeout=HUB_TIMEOUT_SECONDS).close()
    except OSError as error:
        return ("hub", f"not reachable ({error})", "models and data come from folders and the local cache")
    return ("hub", "reachable", "")


def print_findings(console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "found", "means"):
        table.add_column(column, overflow="fold")
    for row in findings():
        table.add_row(*row)
    console.print(table)
