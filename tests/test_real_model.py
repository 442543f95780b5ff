"""The recipe of a real language model, in small: a real chat model, real Alpaca rows and real benchmark items.

The model is the folder that SELECTIT_CHAT_MODEL names, such as a download of HuggingFaceTB/SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import yaml
from test_end_to_end import results, run

CHAT_MODEL = Path(os.environ.get("SELECTIT_CHAT_MODEL", "~/.cache/selectit/smollm2")).expanduser()
ITEMS = {
    "mmlu": {"tasks": ["astronomy"], "items_per_task": 10, "num_fewshot": 1, "metric": "acc"},
    "gsm8k": {"items_per_task": 5, "max_gen_toks": 16, "until": ["Q:"], "metric": "exact_match,flexible-extract"},
    "humaneval": {"items_per_task": 5, "max_gen_toks": 16, "until": ["\ndef"], "metric": "pass@1"},
}


@pytest.mark.slow
@pytest.mark.skipif(not CHAT_MODEL.is_dir(), reason="SELECTIT_CHAT_MODEL names no folder of a chat model")
def test_a_real_model_rates_learns_and_answers(root, shared, tmp_path):
    pool = shared / "alpaca" / "alpaca_en_demo.json"
    (tmp_path / "items.yaml").write_text(yaml.safe_dump({"description": "20 items.", "benchmarks": ITEMS}))
    left_out = [f"arms.{arm}=null" for arm in ("base", "length", "perplexity", "ifd", "full")]
    run(
        root / "recipes" / "smollm2.yaml", tmp_path, f"model.path={CHAT_MODEL}", f"pool.path={pool}",
        "pool.sample={num_rows: 50, seed: 1}", f"finetune.validation.path={pool}",
        "finetune.validation.sample={num_rows: 8, seed: 2}", "finetune.max_steps=4", "finetune.global_batch_size=4",
        "finetune.max_length=64", "score.max_length=128", "arms.selectit.select.num_rating_prompts=2",
        f"evaluate.data={shared}", f"evaluate.profile={tmp_path}/items.yaml", "baselines=[random]",
        "seeds={select: [1], train: [1]}", *left_out,
    )  # fmt: skip
    rows = results(tmp_path / "smollm2")
    assert {(row["arm"], row["benchmark"], row["num_items"]) for row in rows} == {
        (arm, name, str(benchmark["items_per_task"]))
        for arm in ("random", "selectit")
        for name, benchmark in ITEMS.items()
    }
    trainings = [json.loads(path.read_text()) for path in tmp_path.rglob("training.json")]
    losses = [training["validation"][-1]["loss"] for training in trainings]
    assert len(losses) == 2 and all(0.5 < loss < 3 for loss in losses), "a pretrained model's, not a random one's"
    untrained = math.log(json.loads((CHAT_MODEL / "config.json").read_text())["vocab_size"])
    assert max(losses) < untrained / 3
    [ledger] = [json.loads(path.read_text()) for path in tmp_path.rglob("score.json")]
    assert ledger["num_rows"] == 50
