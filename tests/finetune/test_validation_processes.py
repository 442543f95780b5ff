"""The validation loss of two processes is that of one; so is where they stop, and what they keep."""

from __future__ import annotations

import json

import pytest
from tiny_training import stage_config, tiny_rows, train, write_subset


@pytest.mark.slow
@pytest.mark.parametrize("deepspeed", ["none", "zero3"])
def test_two_processes_validate_to_the_loss_of_one(deepspeed, tiny_llama, tmp_path):
    if deepspeed != "none":
        pytest.importorskip("deepspeed")
    subset = write_subset(tmp_path / "subset", tiny_rows(11))
    settings = {"validation": {"num_rows": 3}, "early_stopping": {"patience": 2}}
    train(stage_config(tiny_llama, **settings), subset, tmp_path / "one")
    two = {"launcher": "torchrun", "num_processes": 2, "deepspeed": deepspeed}
    config = stage_config(tiny_llama, **settings, **two).model_copy(update={"keep_epochs": True})
    train(config, subset, tmp_path / "two")
    one, both = (json.loads((tmp_path / name / "training.json").read_text())["validation"] for name in ("one", "two"))
    assert [entry["loss"] for entry in both] == pytest.approx([entry["loss"] for entry in one], abs=1e-4)
    assert (tmp_path / "two" / "adapter" / "adapter_model.safetensors").is_file()
    assert sorted(path.name for path in (tmp_path / "two" / "epochs").iterdir()) == ["1", "2"]
