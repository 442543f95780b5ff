"""A losses stage that is killed while it reads, and what is read after that."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selectit.inference.loaded import FittingRater


def read_after_a_kill(
    monkeypatch: pytest.MonkeyPatch, take: Callable[[Any, Path], Any], config: Any, out: Path, batch: int
) -> list[str]:
    """Kills `take(config, out)` in a child at its n-th batch. Returns: row ids, which grow with what is read next."""
    real, num_batches, seen = FittingRater.read, iter(range(1, batch + 1)), []

    def dies(self, texts):
        if next(num_batches) == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, texts)

    def counts(self, texts):
        seen.extend(row_id for text in texts.items for row_id, _ in text.keys)
        return real(self, texts)

    monkeypatch.setattr(FittingRater, "read", dies)
    child = multiprocessing.get_context("fork").Process(target=take, args=(config, out))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    monkeypatch.setattr(FittingRater, "read", counts)
    return seen
