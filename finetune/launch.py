"""Starts the processes of one training through a launcher, shows their progress, and reports why they ended.

Reads train_config.json; writes logs/ (one file for the launcher, one for each process) and .launch/, through
which the processes and the stage speak.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import torch

import selectit
from selectit.config import FinetuneConfig
from selectit.errors import Preempted, UserError
from selectit.finetune.preemption import StopRequest
from selectit.finetune.reporting import EventReader
from selectit.finetune.run_file import TrainingRun
from selectit.finetune.worker import (
    EVENTS_FILE,
    LAUNCH_FOLDER,
    LAUNCH_VARIABLE,
    LOGS_FOLDER,
    PARENT_FILE,
    STOP_FILE,
    identify_process,
    is_alive,
)
from selectit.tracking import Tracker

TRAINING_MODULE = "selectit.finetune.train"
LAUNCHER_LOG = "launcher.log"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_FOR_OTHER_FAILURES = 1.0
"""After the first failure: a killed process is noticed later than the connections that break because of it."""
NUM_QUOTED_LINES = 20


def check_machine(finetune: FinetuneConfig) -> None:
    """Raises: UserError where this machine lacks a package, or GPUs for the processes."""
    if finetune.launcher == "deepspeed" or finetune.deepspeed != "none":
        _refuse_without_deepspeed(finetune)
    if finetune.method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.method qlora needs the package bitsandbytes, which is not installed: "
            "pip install -c constraints.txt -e '.[qlora]'. method lora trains the same adapter on a base of 16 bits."
        )
    if finetune.optimizer == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.optimizer adamw_8bit needs the package bitsandbytes, which is not installed: "
            "pip install -c constraints.txt -e '.[qlora]'. optimizer adafactor needs less memory too, and no package."
        )
    if finetune.launcher == "external" or not torch.cuda.is_available():
        return
    if finetune.num_processes > torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise UserError(
            f"finetune.num_processes is {finetune.num_processes} and this machine offers "
            f"{torch.cuda.device_count()} GPUs{f' (CUDA_VISIBLE_DEVICES={visible})' if visible else ''}; each process "
            "needs its own. Lower finetune.num_processes, or use several nodes with finetune.launcher external."
        )


def _refuse_without_deepspeed(finetune: FinetuneConfig) -> None:
    if importlib.util.find_spec("deepspeed") is None:
        what = "launcher deepspeed" if finetune.launcher == "deepspeed" else f"deepspeed {finetune.deepspeed}"
        raise UserError(
            f"finetune.{what} needs the package deepspeed, which is not installed: "
            "pip install -c constraints.txt -e '.[deepspeed]'"
        )


def command(finetune: FinetuneConfig, run_file: Path) -> list[str]:
    """What starts the processes on this machine."""
    number, port = str(finetune.num_processes), str(_free_port())
    training = [TRAINING_MODULE, str(run_file)]
    match finetune.launcher:
        case "torchrun":
            start = ["torch.distributed.run", "--standalone", "--nproc-per-node", number, "-m"]
        case "accelerate":
            start = [
                "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--num_processes", number,
                "--main_process_port", port, "--mixed_precision", "no", "--dynamo_backend", "no", "-m",
            ]  # fmt: skip
        case "deepspeed":
            start = [
                "deepspeed.launcher.runner", "--num_gpus", number, "--master_port", port, "--no_local_rank", "--module",
            ]  # fmt: skip
        case launcher:
            raise AssertionError(launcher)
    return [sys.executable, "-m", *start, *training]


def external_command(run_file: Path, num_processes: int) -> str:
    """What the user runs on each node, here for nodes of 8 GPUs or fewer."""
    per_node = next(size for size in (8, 7, 6, 5, 4, 3, 2, 1) if num_processes % size == 0)
    return (
        f"torchrun --nnodes={num_processes // per_node} --nproc-per-node={per_node} --rdzv-backend=c10d "
        f"--rdzv-endpoint=HEAD_NODE:29500 -m {TRAINING_MODULE} {shlex.quote(str(run_file))}"
    )


def launch(run: TrainingRun, run_file: Path, tracker: Tracker, stop: StopRequest) -> None:
    """Start the processes and wait for them; where `stop` is made, they are asked to stop.

    Raises: UserError that a process raised; RuntimeError with the end of a failed process's log; Preempted where
        SIGTERM or Ctrl-C came and a checkpoint was saved.
    """
    folder, logs = run.out / LAUNCH_FOLDER, run.out / LOGS_FOLDER
    for old in (folder, logs):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir()
    (folder / PARENT_FILE).write_text(json.dumps(identify_process()) + "\n", encoding="utf-8")
    with ExitStack() as stack:
        reader = EventReader(folder / EVENTS_FILE, tracker, stack)
        log = stack.enter_context((logs / LAUNCHER_LOG).open("wb"))
        process = subprocess.Popen(
            command(run.stage.finetune, run_file),
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal reaches this process only, which ends the others
        )
        stack.callback(_kill_tree, process)
        while process.poll() is None:
            if stop.is_made:
                (folder / STOP_FILE).touch()
            reader.show_new()
            if _failures(folder):
                time.sleep(SECONDS_FOR_OTHER_FAILURES)
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        reader.show_new()
        failures, code = _failures(folder), process.poll()
    if failures:
        raise _error(failures, run)
    endings = _endings(folder)
    if any(ending["ending"] == "preempted" for ending in endings):
        raise Preempted(endings[0]["text"], stop.exit_code)
    if code != 0:
        raise RuntimeError(f"the launcher ended with {code}{_quote(logs / LAUNCHER_LOG)}")
    shutil.rmtree(folder)


def _environment(folder: Path) -> dict[str, str]:
    source = str(Path(selectit.__file__).parents[1])  # the processes run this code, installed or not
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, LAUNCH_VARIABLE: str(folder.resolve()), "PYTHONPATH": os.pathsep.join(paths)}
    if not torch.cuda.is_available():
        environment.setdefault("DS_ACCELERATOR", "cpu")
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _endings(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("rank*.json"))]


def _failures(folder: Path) -> list[dict[str, Any]]:
    """Endings of the processes that raised, or are gone without a word; the likely cause first."""
    failed = []
    for ending in _endings(folder):
        was_killed = ending["ending"] == "running" and not is_alive(ending)
        if was_killed or ending["ending"] in ("user error", "error"):
            failed.append({**ending, "order": ("user error", "running", "error").index(ending["ending"])})
    return sorted(failed, key=lambda ending: (ending["order"], ending["time"]))


def _error(failures: list[dict[str, Any]], run: TrainingRun) -> Exception:
    first = failures[0]
    if first["ending"] == "user error":
        return UserError(first["text"])
    was_killed = first["ending"] == "running"
    what = "was killed, most likely for memory" if was_killed else f"failed with {first['text'].splitlines()[0]}"
    log = run.out / LOGS_FOLDER / f"rank{first['rank']}.log"
    return RuntimeError(f"training process {first['rank']} of {run.stage.finetune.num_processes} {what}{_quote(log)}")


def _quote(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-NUM_QUOTED_LINES:]
    return f"\nthe last lines of {log}:\n" + "\n".join(f"  {line}" for line in lines) if lines else f"; {log} is empty"


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Launchers start their processes in sessions of their own."""
    try:
        tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        tree = []
    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
