"""Fingerprints of finished work outlive a new version of this project: one stored value for each kind of stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selectit.config import FinetuneStage, LossStage, ScoreStage, SelectStage
from selectit.evaluate.stage_config import EvaluateStage, GradeStage
from selectit.store.fingerprint import Hasher, digest, identity
from selectit.store.kinds import KINDS

GOLDEN = Path(__file__).parent / "golden" / "fingerprints.json"
POOL = {"path": "pool.json", "sample": {"num_rows": 2, "seed": 3}, "bad_rows": "exclude"}
MODEL = {"path": "model", "dtype": "bfloat16"}
SCORE = {"pool": POOL, "model": MODEL, "prompts": ["Rate it.\n", "Judge it.\n"], "max_length": 512, "turns": "mean"}
LOSSES = {"pool": POOL, "model": MODEL, "text": "marker", "template": "alpaca", "quantization": "8bit"}
FINETUNE = {
    "model": MODEL,
    "seed": 5,
    "finetune": {
        "method": "lora", "learning_rate": 1e-4, "num_train_epochs": 2, "template": "llmzoo",
        "validation": {"num_rows": 4}, "early_stopping": {"patience": 2},
        "replay": {"path": "pool.json", "share": 0.25},
    },
}  # fmt: skip
EVALUATE = {
    "model": MODEL,
    "benchmark": {"name": "gsm8k", "num_fewshot": 4, "max_gen_toks": 64, "metric": "exact_match"},
    "data": "benchmarks",
    "limit": 8,
    "judge": {"model": "judge", "base_url": "http://localhost:1/v1"},
}
SELECTS = {
    "full": {},
    "random": {"ratio": 0.5},
    "random_rest": {"rest_of": "other"},
    "length": {"unit": "words"},
    "random_matched": {"match": "other", "num_bins": 5},
    "selectit": {"level": "token", "fidelity": "paper"},
    "perplexity": {"order": "mid"},
    "ifd": {"form": "perplexity_ratio"},
}

STAGES = {
    "score": (ScoreStage, SCORE),
    "losses": (LossStage, LOSSES),
    **{
        f"select {name}": (SelectStage, {"pool": POOL, "seed": 7, "select": {"strategy": name, **settings}})
        for name, settings in SELECTS.items()
    },
    "finetune-lora": (FinetuneStage, FINETUNE),
    "finetune-full": (FinetuneStage, {**FINETUNE, "keep_epochs": True, "finetune": {"method": "full"}}),
    "evaluate": (EvaluateStage, EVALUATE),
    "grade": (
        GradeStage,
        {"benchmark": EVALUATE["benchmark"], "data": "benchmarks", "answers": "answers.jsonl", "grader": "gsm8k-1"},
    ),
}


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Small files at the paths of the configurations."""
    files = {
        "pool.json": "[]", "answers.jsonl": "{}\n", "model/config.json": "{}", "model/model.safetensors": "weights",
        "benchmarks/gsm8k/test.jsonl": "{}\n", "benchmarks/gsm8k/train.jsonl": "{}\n",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def fingerprint(name: str) -> str:
    schema, settings = STAGES[name]
    kind = KINDS[name.split(" ")[0]]
    config = schema.model_validate_json(json.dumps(settings))
    return digest({"kind": kind.name, "version": kind.version, "config": identity(config, Hasher()), "inputs": {}})


@pytest.mark.parametrize("name", STAGES)
def test_the_fingerprint_of_a_stage_is_that_of_finished_work(name, inputs):
    assert fingerprint(name) == json.loads(GOLDEN.read_text())[name], (
        "finished work of this kind would be done again. Where the same configuration now gives another result, raise "
        "the version of the kind and store the new value; otherwise mend the identity"
    )
