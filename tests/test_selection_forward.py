"""Strategies that read entropies and features choose what slow implementations of their definitions choose, which read
real rows with plain transformers, one at a time.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from selectit.config import FinetuneConfig, ModelConfig, WandbConfig
from selectit.data.conversations import as_conversation
from selectit.data.pool import read_pool
from selectit.finetune.dataset import IGNORED_LABEL, tokenize
from selectit.inference.load import load_model, load_tokenizer
from selectit.plan import stages as planning
from selectit.plan.graph import alone
from selectit.recipe.load import resolve_arm
from selectit.run.engine import run_plan
from selectit.run.stage_runner import Session
from selectit.store.runs_folder import Store
from selectit.templates.form import load_form

NUM_ROWS = 14


@pytest.fixture(scope="module")
def tiny(shared) -> str:
    return str(shared / "models" / "stories260K")


@pytest.fixture(scope="module")
def rows(shared) -> list[dict]:
    """Real ones, of which two are equal."""
    found = json.loads((shared / "alpaca" / "alpaca_en_demo.json").read_text())
    drawn = random.Random(3).sample([row for row in found if len(row["output"]) < 400], NUM_ROWS - 1)
    return [*drawn, drawn[4]]


def pool_file(rows: list[dict], folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pool.json").write_text(json.dumps(rows))
    return str(folder / "pool.json")


def choose(rows: list[dict], model: str, folder: Path, select: dict, **score) -> tuple[list[dict], dict]:
    """Through the plan and the engine: lines of scores.jsonl, and selection.json."""
    arm = resolve_arm(
        {"pool": {"path": pool_file(rows, folder)}, "model": {"path": model}, "select": select, "score": score}
    )
    stage = planning.select_stage(arm, 0, {})
    session = Session(Store(folder / "runs"), Console(quiet=True), WandbConfig(enabled=False), "test")
    [outcome] = [o for s, o in run_plan(alone(stage), session).items() if s == stage]
    out = outcome.artifact.path
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    return lines, json.loads((out / "selection.json").read_text())


def taken(lines: list[dict]) -> list[int]:
    """Places of the selected rows, best first."""
    return [line["row"] for line in sorted(lines, key=lambda line: line["rank"]) if line["selected"]]


def texts_of(rows: list[dict], folder: Path, model: str) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each row as training has them, and which of them are the response's."""
    path = pool_file(rows, folder / "oracle")
    conversations = [
        as_conversation(row.row_id, row.messages, "alpaca")
        for row in read_pool(
            resolve_arm({"pool": {"path": path}, "model": {"path": model}, "select": {"strategy": "full"}}).pool
        )
    ]
    form = load_form("alpaca", load_tokenizer(ModelConfig(path=model)))
    settings = FinetuneConfig(template="alpaca", max_length=10**6, max_truncated_share=1.0)
    encoded = tokenize(conversations, form, settings).rows
    return [(row.input_ids.tolist(), (row.labels != IGNORED_LABEL).tolist()) for row in encoded]


@torch.no_grad()
def read_alone(model: str, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities in front of each token but the first, and the last hidden states, float64."""
    found = load_model(ModelConfig(path=model))(torch.tensor([ids]), output_hidden_states=True)
    return found.logits[0, :-1].double().log_softmax(-1).numpy(), found.hidden_states[-1][0].double().numpy()


def slow_entropies(rows: list[dict], folder: Path, model: str) -> list[float]:
    """InstructDiff's H of the response: mean of -sum p log p over the positions that predict its tokens."""
    found = []
    for ids, scored in texts_of(rows, folder, model):
        logs, _ = read_alone(model, ids)
        own = [-(np.exp(logs[at]) * logs[at]).sum() for at in range(len(ids) - 1) if scored[at + 1]]
        found.append(sum(own) / len(own))
    return found


@pytest.mark.parametrize(("keep", "order"), [("highest", -1), ("lowest", 1), ("middle", -1)])
def test_entropy_takes_the_rows_that_a_slow_implementation_takes(rows, tiny, tmp_path, keep, order):
    entropies = slow_entropies(rows, tmp_path, tiny)
    lines, selection = choose(rows, tiny, tmp_path / keep, {"strategy": "entropy", "keep": keep, "ratio": 0.36})
    ordered = sorted(range(NUM_ROWS), key=lambda at: (order * round(entropies[at], 4), -at))
    start = (NUM_ROWS - 5) // 2 if keep == "middle" else 0
    assert taken(lines) == ordered[start : start + 5] and selection["num_selected"] == 5
    np.testing.assert_allclose([line["response_entropy"] for line in lines], entropies, rtol=1e-4)


def test_order_of_rows_batches_and_processes_change_no_entropy(rows, tiny, tmp_path):
    select = {"strategy": "entropy", "ratio": 0.36}
    first, _ = choose(rows, tiny, tmp_path / "a", select)
    others = (rows, {"batch_tokens": 1}), (rows, {"num_processes": 2}), (rows[::-1], {})
    for number, (same, settings) in enumerate(others):
        lines, _ = choose(same, tiny, tmp_path / str(number), select, **settings)
        found = [line["score"] for line in lines]
        np.testing.assert_allclose(found if same is rows else found[::-1], [line["score"] for line in first], rtol=1e-5)
