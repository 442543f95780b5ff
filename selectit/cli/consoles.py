"""Where the commands print: in a terminal by its width, elsewhere without breaking a line."""

from __future__ import annotations

import sys

from rich.console import Console

UNFOLDED = 10_000
"""Columns of what is no terminal: no name is broken over two lines in a pipe or a file."""


def make_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else UNFOLDED)
