"""The command line."""

from selectit.cli.app import main

__all__ = ["main"]
