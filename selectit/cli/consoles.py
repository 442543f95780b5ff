"""Where the commands print, and how much: in a terminal by its width, elsewhere without breaking a line."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from rich.console import Console

UNFOLDED = 10_000
"""Columns where the output is not a terminal: no name is broken over two lines in a pipe or a file."""

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print the result only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also what libraries report, and tracebacks.")]


console = Console(width=None if sys.stdout.isatty() else UNFOLDED)
"""The one to which every command prints."""


def watched(quiet: bool, verbose: bool) -> Console:
    """Where a command prints while it works; `verbose` lets libraries print too."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    return Console(quiet=True) if quiet else console
