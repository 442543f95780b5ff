"""The one exception that is meant for the person at the keyboard."""

from __future__ import annotations

import difflib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """Something the user can put right; its text states what, where, what is allowed and what to do.

    The command line prints the text without a traceback and exits with code 1.

    Args: faults: each by itself, where the text lists several under a heading.
    """

    def __init__(self, text: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.faults = faults or tuple(text.splitlines())


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`" Did you mean 'gsm8k'?"`, or an empty text where nothing is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


class NotRun(Exception):
    """A stage that cannot run on this machine and costs nothing: a missing result with its reason, not a failure.

    It leaves no finished artifact, so the same command runs it once the machine can.
    """


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: Exception) -> bool:
    """The disk, a quota or a limit on file sizes does not take another byte; libraries in Rust report it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(os.strerror(code) in str(error) for code in FULL)


def no_space(error: OSError, folder: Path) -> str:
    """`No space left on device: 12 MB free in runs/artifacts/...`."""
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    return f"{error.strerror}: {free / 1e6:,.0f} MB free in {folder}"


EXIT_PREEMPTED = 75
"""EX_TEMPFAIL of sysexits.h: stopped by SIGTERM with its work kept; the same command resumes."""
EXIT_INTERRUPTED = 130
"""Stopped by Ctrl-C, as shells report it."""


class Preempted(BaseException):
    """SIGTERM or Ctrl-C came and the stage has saved its work; the command ends with `code`.

    Not an `Exception`, so that it is not a failure of the stage and nothing later is started.
    """

    def __init__(self, text: str, code: int = EXIT_PREEMPTED) -> None:
        super().__init__(text)
        self.code = code
