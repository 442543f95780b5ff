"""Fixtures that several rooms share: the demonstration model and pool, and the real files where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def demo() -> Path:
    return ROOT / "demo"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real benchmark and Alpaca files; they are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real data files is not on this machine")
    return SHARED


@pytest.fixture
def small_pool(demo: Path, tmp_path: Path) -> Path:
    """The first 40 rows of the demonstration pool."""
    path = tmp_path / "pool.json"
    path.write_text(json.dumps(json.loads((demo / "pool.json").read_text())[:40]))
    return path
