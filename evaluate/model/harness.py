"""How lm-eval is called: without its own progress bars and chatter, and with prompt templates compiled once.

Reads and writes nothing.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import lm_eval.api.metrics
import lm_eval.utils
import tqdm.std
import transformers
from lm_eval.api.model import CacheHook

_ONE_PROCESS = "DISABLE_MULTIPROC"
"""The variable that lm-eval's bootstrap reads."""
_LOUD_LOGGERS = ("lm_eval", "datasets", "transformers", "accelerate", "peft")

_compiled = functools.cache(lm_eval.utils.env.from_string)


@contextmanager
def _compiled_once() -> Iterator[None]:
    """lm-eval compiles a prompt's template anew for every question and shot, most of MMLU's time without a model."""
    compile_template = lm_eval.utils.env.from_string
    lm_eval.utils.env.from_string = _compiled
    try:
        yield
    finally:
        lm_eval.utils.env.from_string = compile_template


@contextmanager
def _bootstrapped_here() -> Iterator[None]:
    """lm-eval's bootstrap prints a line, and forks a process for each core from one that may hold a GPU."""
    names, before = vars(lm_eval.api.metrics), os.environ.get(_ONE_PROCESS)
    names["print"], os.environ[_ONE_PROCESS] = lambda *texts: None, "1"
    try:
        yield
    finally:
        names.pop("print", None)
        if before is None:
            del os.environ[_ONE_PROCESS]
        else:
            os.environ[_ONE_PROCESS] = before


@contextmanager
def quiet() -> Iterator[None]:
    """No foreign bar or log line below an error, for what a user must know is in the result's notes; each prompt
    template is compiled once.
    """
    start = tqdm.std.tqdm.__init__

    def without_bar(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **{**kwargs, "disable": True})  # TQDM_DISABLE is read at import, too late for us

    levels = {name: logging.getLogger(name).level for name in _LOUD_LOGGERS}
    bars_of_datasets, bars_of_transformers = (
        datasets.is_progress_bar_enabled(), transformers.utils.logging.is_progress_bar_enabled(),
    )  # fmt: skip
    for name in _LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    tqdm.std.tqdm.__init__ = without_bar
    try:
        with warnings.catch_warnings(), _compiled_once(), _bootstrapped_here():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.std.tqdm.__init__ = start
        if bars_of_datasets:
            datasets.enable_progress_bars()
        if bars_of_transformers:
            transformers.utils.logging.enable_progress_bar()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class ProgressHook(CacheHook):
    """Stands where lm-eval's response cache would: every finished request is passed to it."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        super().__init__(None)
        self._advance = advance

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self._advance(1)
