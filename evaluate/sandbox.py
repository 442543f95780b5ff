"""Runs model-written programs against their tests, in bubblewrap or, when asked, without protection.

In bubblewrap a program has no network, sees no file of the host but the system's and Python's own (read-only),
and may write 64 MB to a /tmp of its own. Each run is one process tree that ends with it. What grades a program is
sandbox_driver.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

SandboxKind = Literal["bwrap", "none"]

WALL_SECONDS = 10
"""For one program and all of its tests; a busy machine must not fail a slow one, so the processor time counts first."""
LIMITS = {"CPU": 4, "AS": 1 << 30, "FSIZE": 1 << 24, "NOFILE": 64, "CORE": 0}
"""Of the program's process: seconds of processor time, bytes of memory, bytes of a file, open files."""
TMP_BYTES = 1 << 26
_NOBODY = "65534"


@dataclass(frozen=True)
class Program:
    """One completion of one task."""

    prompt: str
    """Its imports and helper functions are there for the tests too."""
    completion: str
    test: str
    """Python that defines check(candidate)."""
    entry_point: str
    times: int = 1
    """Of the limits of time."""


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reason: str
    """Why it did not pass; empty where it did."""


def unavailable(kind: SandboxKind = "bwrap") -> str | None:
    """Why programs cannot be run here, or None: a program that must pass does, and one that must not does not."""
    if kind == "bwrap" and shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt install bubblewrap)"
    right = Program("def one():\n", "    return 1\n", "def check(f):\n    assert f() == 1\n", "one")
    wrong = Program("def one():\n", "    return 2\n", "def check(f):\n    assert f() == 1\n", "one")
    if not (verdict := run_program(right, kind)).passed:
        hint = "; inside a container it needs unprivileged user namespaces" if kind == "bwrap" else ""
        return f"the sandbox '{kind}' does not work here ({verdict.reason}){hint}"
    return "the sandbox passes wrong programs" if run_program(wrong, kind).passed else None


def run_programs(
    programs: Sequence[Program], kind: SandboxKind, advance: Callable[[int], None] = lambda _: None
) -> list[Verdict]:
    """The verdicts in the order of the programs; as many run at once as this process has processors."""

    def run(program: Program) -> Verdict:
        verdict = run_program(program, kind)
        advance(1)
        return verdict

    with ThreadPoolExecutor(max_workers=_num_processors()) as pool:
        return list(pool.map(run, programs))


def run_program(program: Program, kind: SandboxKind) -> Verdict:
    token = secrets.token_hex(16)
    order = {
        "program": program.prompt + program.completion,
        "entry_point": program.entry_point,
        "limits": {**LIMITS, "CPU": LIMITS["CPU"] * program.times},
        "seconds": WALL_SECONDS * program.times,
    }
    tests = {"prompt": program.prompt, "test": program.test, "token": token}
    given = b"".join(b"%010d%s" % (len(text), text) for text in (json.dumps(part).encode() for part in (order, tests)))
    with tempfile.TemporaryDirectory() as folder:
        command = ([] if kind == "none" else _bwrap()) + [_python(), "-S", "-s", "-c", _driver()]
        # One seed for hashing: a program that depends on the order of a set must be graded alike in every run.
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            answer, complaint = process.communicate(given, timeout=WALL_SECONDS * program.times + 5)
        except subprocess.TimeoutExpired:
            return Verdict(False, "out of time")
        finally:
            _end(process)
    try:
        verdict = json.loads(answer)
        if verdict["token"] == token:
            return Verdict(verdict["passed"] is True, str(verdict["reason"]))
    except (ValueError, TypeError, KeyError):
        pass
    lines = complaint.decode(errors="replace").strip().splitlines()
    return Verdict(False, lines[-1][:300] if lines else "the sandbox ended without a verdict")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@cache
def _bwrap() -> list[str]:
    arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--uid", _NOBODY, "--gid", _NOBODY]
    for name in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"):
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), name]
        elif path.exists():
            arguments += ["--ro-bind", name, name]
    prefix = os.path.realpath(sys.base_prefix)
    if not prefix.startswith("/usr"):  # a Python of pyenv or conda lies under somebody's home
        arguments += ["--ro-bind", prefix, prefix]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"]
    # / and /dev are file systems in memory without a size limit: read-only, or a program could fill the machine
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


@cache
def _python() -> str:
    return os.path.realpath(sys.executable)


@cache
def _driver() -> str:
    return (files("selectit.evaluate") / "sandbox_driver.py").read_text(encoding="utf-8")


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
