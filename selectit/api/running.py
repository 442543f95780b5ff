"""Stages that a program runs: nothing is printed unless it is asked for, what fails is raised, and a folder that
nobody named is removed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from selectit.config import WandbConfig
from selectit.environment import prepare_process
from selectit.plan.graph import Stage, alone
from selectit.plan.outcome import Outcome
from selectit.run.engine import run_plan
from selectit.run.stage_runner import Session
from selectit.store.outputs import check_outputs, runs_folder
from selectit.store.runs_folder import Store

FilePath = str | PathLike[str]


@contextmanager
def work_folders(runs_dir: FilePath | None) -> Iterator[tuple[Path, Path]]:
    """A runs folder and a folder for inputs. Args: runs_dir: None: a temporary one, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="selectit-") as name:
        yield Path(name) / "runs" if runs_dir is None else Path(runs_dir), Path(name)


def run_stages(
    stages: Sequence[Stage], runs_dir: Path, reuse: Sequence[FilePath], inputs: Sequence[str], progress: bool
) -> dict[Stage, Outcome]:
    """Run what is not done, and the stages that it reads.

    Args:   inputs: files and folders that are read; progress: print what the command line prints.
    Raises: what a stage raises; UserError where preflight finds a fault, or `runs_dir` holds somebody's files.
    """
    prepare_process()
    check_outputs({"the call": inputs}, runs_folder(runs_dir))
    store = Store(runs_dir, reuse=[Path(folder) for folder in reuse])
    session = Session(store, console(progress), WandbConfig(enabled=False), group=runs_dir.name, raises=True)
    with quiet_libraries(progress):
        return run_plan(alone(*stages), session)


def console(progress: bool) -> Console:
    return Console() if progress else Console(quiet=True)


@contextmanager
def quiet_libraries(progress: bool) -> Iterator[None]:
    """Without progress bars of transformers, which a notebook may have imported before this was called."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled() and not progress
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def plain(value: Any) -> Any:
    """Settings as a file would hold them: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, PathLike) else value
