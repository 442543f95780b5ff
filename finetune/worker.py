"""One of several training processes, as the stage that started them sees it.

Writes its output to logs/rank<k>.log and how it ended to .launch/rank<k>.json, and ends with the stage's process:
a training that nobody watches would go on writing into a folder that another run uses.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psutil

from selectit.data.whole_files import write_whole
from selectit.errors import EXIT_PREEMPTED, Preempted, UserError
from selectit.finetune.processes import rank, wait_for_all

LAUNCH_VARIABLE = "SELECTIT_LAUNCH"
"""Environment variable: the launch folder, where the stage has started this process."""
LAUNCH_FOLDER = ".launch"
LOGS_FOLDER = "logs"
PARENT_FILE = "parent.json"
STOP_FILE = "stop"
EVENTS_FILE = "events.jsonl"
SECONDS_BETWEEN_LOOKS = 1.0
CLOCK_CORRECTION_SECONDS = 5.0
"""By which a process's start time may seem to move: the kernel counts from a boot time that is corrected."""

Ending = Literal["running", "done", "preempted", "user error", "error"]


def identify_process() -> dict[str, float]:
    """Process id and start time, for ids are used again."""
    return {"pid": os.getpid(), "started": psutil.Process().create_time()}


def is_alive(process: dict[str, Any]) -> bool:
    try:
        found = psutil.Process(process["pid"])
        same = abs(found.create_time() - process["started"]) < CLOCK_CORRECTION_SECONDS
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def work(launch: Path, logs: Path, train: Callable[[], None]) -> None:
    """Run `train` and end the process: with 0, 75 after SIGTERM, or 1.

    The interpreter's own way out may wait for ever for processes that are gone.
    """
    _write_output_to(logs / f"rank{rank()}.log")
    parent = json.loads((launch / PARENT_FILE).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    record_ending(launch, "running")
    try:
        train()
        record_ending(launch, "done")
        code = 0
    except Preempted as stopped:
        record_ending(launch, "preempted", str(stopped))
        wait_for_all()  # a launcher kills the others once one has ended
        code = EXIT_PREEMPTED
    except UserError as error:
        traceback.print_exc()
        record_ending(launch, "user error", str(error))
        code = 1
    except BaseException as error:
        traceback.print_exc()
        record_ending(launch, "error", f"{type(error).__name__}: {error}")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def record_ending(launch: Path, ending: Ending, text: str = "") -> None:
    path = launch / f"rank{rank()}.json"
    record = {**identify_process(), "rank": rank(), "ending": ending, "text": text, "time": time.time()}
    write_whole(path, json.dumps(record) + "\n")


def _write_output_to(path: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())  # libraries in C write there too


def _end_with(parent: dict[str, Any]) -> None:
    while is_alive(parent):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGKILL)
