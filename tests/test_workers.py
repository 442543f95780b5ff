"""Processes that work for another one end quietly when it is gone."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

import pytest

from selectit.inference.workers import _work


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_a_process_whose_parent_stopped_listening_while_it_worked_ends_without_a_traceback(capfd):
    """Ctrl-C and SIGTERM close the parent's ends first; an answer that is sent then has nobody to read it."""

    def make(number):
        def slow(item):
            time.sleep(0.3)
            return item

        return slow

    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=_work, args=(make, 0, theirs, [mine], os.getpid()))
    process.start()
    theirs.close()
    mine.send(b"x" * 2**20)
    time.sleep(0.1)
    mine.close()
    process.join(30)
    assert process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err
