"""The tiny model, its rows and the shared data, as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_training import build_tiny_llama, stage_config, tiny_rows, train, write_subset


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_llama(tmp_path_factory.mktemp("tiny_llama"))


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    return write_subset(tmp_path / "subset", tiny_rows(10))


@pytest.fixture
def train_tiny(tiny_llama: Path, subset: Path, tmp_path: Path) -> Callable[..., Path]:
    """`train_tiny(name, **finetune)` -> the artifact folder."""

    def run(name: str, console: Console | None = None, **settings: Any) -> Path:
        train(stage_config(tiny_llama, **settings), subset, tmp_path / name, console)
        return tmp_path / name

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared benchmark data is not on this machine")
    return folder
