"""From `selectit run` to the packed forward pass and a training step: at most six files, counted on the real stack."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.finetune.trainer import ResponseTrainer
from selectit.inference.packed import PackedRater
from selectit.inference.token_rater import PackedTokenRater

MOST_FILES = 6
TO_A_STAGE = ["selectit/cli/recipe_commands.py", "selectit/run/engine.py", "selectit/run/stage_runner.py"]
"""From the function of the command on; what stands above it on the stack is the entry point and Typer."""
RATINGS = [*TO_A_STAGE, "selectit/scoring/stage.py", "selectit/inference/loaded.py", "selectit/inference/packed.py"]
TRAINING = [*TO_A_STAGE, "finetune/stage.py", "finetune/train.py", "finetune/trainer.py"]


@pytest.fixture
def walk(root, demo, tmp_path, monkeypatch):
    """Runs a recipe until `method` of `owner` is called. Returns: the files of this project on the stack there, in the
    order in which a reader meets them. Every frame is counted, those of loops and generators too.
    """

    def to(owner: type, method: str, select: dict) -> list[str]:
        (tmp_path / "pool.json").write_text(json.dumps(json.loads((demo / "pool.json").read_text())[:12]))
        raw = {
            "name": "walk",
            "pool": {"path": "./pool.json"},
            "model": {"path": str(demo / "model")},
            "score": {"num_processes": 1},
            "finetune": {
                "max_steps": 1, "global_batch_size": 2, "micro_batch_size": 2, "max_length": 256,
                "gradient_checkpointing": False,
            },
            "evaluate": {
                "profile": "miniature", "data": str(demo / "benchmarks"), "limit": 2, "benchmarks": ["gsm8k"],
            },
            "arms": {"mine": {"select": {**select, "ratio": 0.5}}},
            "baseline": "mine",
        }  # fmt: skip
        (tmp_path / "walk.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        stacks: list[list[str]] = []

        def stop(*_, **__):
            stacks.append([frame.filename for frame in traceback.extract_stack()[:-1]])  # without this function
            raise RuntimeError("far enough")

        monkeypatch.setattr(owner, method, stop)
        result = CliRunner().invoke(app, ["run", str(tmp_path / "walk.yaml"), "--runs-dir", str(tmp_path / "runs")])
        assert stacks, f"{result.output}{result.exception}"
        paths = [Path(name).resolve() for name in stacks[0]]
        own = [str(path.relative_to(root)) for path in paths if path.is_relative_to(root) and ".venv" not in path.parts]
        return list(dict.fromkeys(own[own.index(TO_A_STAGE[0]) :]))

    return to


def test_the_packed_forward_pass_of_ratings_is_six_files_from_the_command(walk):
    found = walk(PackedRater, "_last_hidden", {"strategy": "selectit", "num_rating_prompts": 2})
    assert found == RATINGS and len(found) <= MOST_FILES


def test_that_of_losses_is_as_near(walk):
    found = walk(PackedTokenRater, "rate", {"strategy": "perplexity"})
    assert [*TO_A_STAGE, "selectit/scoring/loss_stage.py", "selectit/inference/loaded.py"] == found
    assert len([*found, "selectit/inference/token_rater.py"]) <= MOST_FILES


def test_a_training_step_is_six_files_from_the_command(walk):
    found = walk(ResponseTrainer, "compute_loss", {"strategy": "random"})  # called by `training_step` of the same file
    assert found == TRAINING and len(found) <= MOST_FILES


def test_the_docs_draw_these_walks(root):
    page = (root / "docs" / "development.md").read_text(encoding="utf-8")
    drawn = re.findall(r"```\n(.*?)```", page[page.index("**Two walks.**") : page.index("**Two links.**")], re.DOTALL)
    files = [[file.removeprefix("selectit/") for file in walk] for walk in (TRAINING, RATINGS)]
    assert [re.findall(r"[\w/]+\.py", one) for one in drawn] == [files[0], files[1][len(TO_A_STAGE) :]]
