"""Where the adapter lies in the folder that a person names."""

from __future__ import annotations

from pathlib import Path

from selectit.errors import UserError
from selectit.store.names import ADAPTER_CONFIG, ADAPTER_FOLDER


def find_adapter(folder: Path) -> Path:
    """The folder itself, or `adapter/` in that of a training.

    Raises: UserError where neither holds an adapter.
    """
    for candidate in (folder, folder / ADAPTER_FOLDER):
        if (candidate / ADAPTER_CONFIG).is_file():
            return candidate
    raise UserError(f"{folder} holds no adapter: neither adapter_config.json nor adapter/adapter_config.json is there")
