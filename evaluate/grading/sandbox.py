"""Runs model-written programs against their tests, in bubblewrap or, when asked, without protection.

The program is taken to be hostile: it may do what any Python code can do, to pass, to read or to harm. The tests are
their authors'. So each program has a sandbox of its own, which the tests, the verdict and the host's files never
enter: two pipes lead out, on which it is asked for values and answers with values. Who asks is a grader, the same for
many programs, in another sandbox. Both are sandbox_driver.py.

A program's sandbox is one process without network, which can start no other and has no rights over any. It sees the
system's and Python's own files and numpy's (read-only) and a /tmp of its own. Time, memory and files are limited by the
kernel, whose calls that go past these limits are refused (sandbox_calls.py); what no limit counts is looked at while
the program runs. Its process is known by number and ended with its verdict, so nothing of it stays.

Without bubblewrap ("none") the process and its limits are the same, and it sees the host's files.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from selectit.errors import UserError
from selectit.evaluate.grading import sandbox_calls
from selectit.evaluate.grading.sandbox_process import (
    START_SECONDS,
    Grader,
    SandboxError,
    SandboxKind,
    packages,
    running,
)

WALL_SECONDS = 10
"""For one program and all of its tests; a busy machine must not fail a slow one, so the processor time counts first."""
LIMITS = {"CPU": 4, "AS": 1 << 30, "FSIZE": 1 << 24, "NOFILE": 64, "CORE": 0}
"""Of the program's process: seconds of processor time, bytes of memory, bytes of a file, open files."""
GRADER_BYTES = 2 << 30
"""Of memory for the tests; what a program answers is read by them."""
_LAST_SECONDS = 5
"""After the program's time, for the grader to report it."""


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
    if sys.platform != "linux" or sandbox_calls.rules(platform.machine()) is None:
        return f"programs run on Linux on x86_64 or aarch64 only; this is {sys.platform} on {platform.machine()}"
    right = Program("def one():\n", "    return 1\n", "def check(f):\n    assert f() == 1\n", "one")
    wrong = Program("def one():\n", "    return 2\n", "def check(f):\n    assert f() == 1\n", "one")
    try:
        verdict = run_program(right, kind)
        if not verdict.passed:
            return f"the sandbox '{kind}' does not work here ({verdict.reason})"
        return "the sandbox passes wrong programs" if run_program(wrong, kind).passed else None
    except UserError as error:
        hint = "; inside a container it needs unprivileged user namespaces" if kind == "bwrap" else ""
        return f"{error}{hint}"


def run_programs(
    programs: Sequence[Program], kind: SandboxKind, advance: Callable[[int], None] = lambda _: None
) -> list[Verdict]:
    """The verdicts in the order of the programs; as many run at once as this process has processors.

    Raises: UserError where a sandbox could not be started, twice.
    """
    num_graders = min(len(programs), _num_processors())
    free: queue.SimpleQueue[Grader] = queue.SimpleQueue()

    def run(program: Program) -> Verdict:
        grader = free.get()
        try:
            return _run(program, grader)
        finally:
            free.put(grader)
            advance(1)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max_workers=max(num_graders, 1)) as pool:
        for _ in range(num_graders):
            free.put(stack.enter_context(Grader(kind)))
        return list(pool.map(run, programs))


def run_program(program: Program, kind: SandboxKind) -> Verdict:
    return run_programs([program], kind)[0]


def _run(program: Program, grader: Grader) -> Verdict:
    try:
        return _run_once(program, grader)
    except SandboxError:  # a machine without memory or processes for a moment must not make a right answer wrong
        grader.stop()
    try:
        return _run_once(program, grader)
    except SandboxError as error:
        raise UserError(f"the sandbox '{grader.kind}' does not work here ({error})") from error


def _run_once(program: Program, grader: Grader) -> Verdict:
    order = {
        "program": program.prompt + program.completion,
        "entry_point": program.entry_point,
        "limits": {**LIMITS, "CPU": LIMITS["CPU"] * program.times},
        "calls": sandbox_calls.rules(platform.machine()),
        "packages": packages(),
    }
    seconds = WALL_SECONDS * program.times
    tests = {
        "prompt": program.prompt, "test": program.test, "entry_point": program.entry_point, "seconds": seconds,
        "memory": GRADER_BYTES,
    }  # fmt: skip
    with running(grader.kind) as process:
        grader.send(order, tests, [process.requests.fileno(), process.replies.fileno()])
        process.requests.close()
        process.replies.close()
        if not grader.receive(START_SECONDS).get("started"):
            raise SandboxError(process.started.complaint())
        verdict = grader.receive(seconds + _LAST_SECONDS, process.look)
        if not verdict:
            return Verdict(False, "timed out")
        reason = str(verdict["reason"])
        if process.excess:
            reason = process.excess
        elif reason == "the program ended before it answered" and process.was_killed():
            reason = f"killed by the kernel: {LIMITS['CPU'] * program.times} s of processor time, or memory, used up"
        return Verdict(verdict["passed"] is True and not reason, reason)


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
