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


def calibrated_arms(rows: list[dict], model: str, folder: Path, select: dict, method: str):
    shared = {"pool": {"path": pool_file(rows, folder)}, "model": {"path": model}}
    training = {"method": method, "max_steps": 3, "learning_rate": 5e-3, "global_batch_size": 4, "max_length": 256}
    training |= {"warmup_ratio": 0.0, "max_truncated_share": 1.0}
    arm = resolve_arm({**shared, "select": {"strategy": "delta_entropy", "calibrated": "other", **select}})
    return arm, resolve_arm({**shared, "select": {"strategy": "random", "ratio": 0.5}, "finetune": training})


def slow_instructdiff(changes, losses, num_tokens, ratio: float, share: float) -> list[int]:
    """selection.py at 28adfe3, from its description: lists of rows, sorted and counted one after the other."""
    by_loss = sorted(range(len(losses)), key=lambda at: losses[at])
    cut = int(len(by_loss) * share)
    kept = sorted(by_loss[cut : len(by_loss) - cut], key=lambda at: -changes[at])
    budget, total, chosen = int(ratio * sum(num_tokens)), 0, []
    for at in kept:
        if total >= budget:
            break
        chosen.append(at)
        total += num_tokens[at]
    return chosen


@pytest.mark.parametrize("method", ["lora", "full"])
def test_delta_entropy_takes_the_rows_that_instructdiffs_rule_takes(rows, tiny, tmp_path, method):
    from peft import PeftModel

    rows = rows[:-1]  # without the equal one, whose change is the same
    arm, other = calibrated_arms(rows, tiny, tmp_path, {"ratio": 0.3, "filtered": 0.15}, method)
    stage = planning.select_stage(arm, 0, {}, {"calibrated": other}, train_seed=1)
    session = Session(Store(tmp_path / "runs"), Console(quiet=True), WandbConfig(enabled=False), "test")
    done = run_plan(alone(stage), session)
    assert [o.reason for o in done.values() if o.artifact is None] == []
    lines = [json.loads(line) for line in (done[stage].artifact.path / "scores.jsonl").read_text().splitlines()]

    [trained] = [outcome.artifact.path for s, outcome in done.items() if s.kind.startswith("finetune")]
    base = load_model(ModelConfig(path=tiny))
    if method == "lora":
        tuned = PeftModel.from_pretrained(load_model(ModelConfig(path=tiny)), str(trained / "adapter")).eval()
    else:
        tuned = load_model(ModelConfig(path=str(trained / "model")))
    changes, losses, counts = [], [], []
    for ids, scored in texts_of(rows, tmp_path, tiny):
        means = []
        for model in (base, tuned):
            logs = model(torch.tensor([ids])).logits[0, :-1].detach().double().log_softmax(-1).numpy()
            own = [at for at in range(len(ids) - 1) if scored[at + 1]]
            entropy = sum(-(np.exp(logs[at]) * logs[at]).sum() for at in own) / len(own)
            means.append((entropy, sum(-logs[at][ids[at + 1]] for at in own) / len(own)))
        (before, loss), (after, tuned_loss) = means
        changes.append(after - before)
        losses.append(loss - tuned_loss)
        counts.append(len(own))
    assert max(np.abs(changes)) > 1e-3
    np.testing.assert_allclose([line["entropy_change"] for line in lines], changes, atol=2e-5)
    np.testing.assert_allclose([line["loss_change"] for line in lines], losses, atol=2e-5)
    chosen = slow_instructdiff(changes, losses, counts, 0.3, 0.15)
    assert taken(lines) == chosen
    filtered = [line["failure"] for line in lines]
    assert filtered.count("loss_change") == 2 * int(len(rows) * 0.15) == sum(why is not None for why in filtered)
    scored = [line["row"] for line in lines if line["score"] is not None]  # beyond the budget too
    assert len(scored) == len(rows) - filtered.count("loss_change") > len(chosen)


def test_the_filter_and_the_budget_are_those_of_the_released_code():
    from selectit.selection.strategies.delta_entropy import num_within, ordered

    changes, losses = np.array([0.1, 0.4, 0.2, 0.3, 0.0]), np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    order, cut = ordered(changes, losses, 0.2)
    assert order.tolist() == [3, 2, 4] and cut.tolist() == [0, 1]
    assert ordered(changes[:4], losses[:4], 0.5)[1].tolist() == []  # as run: n 4, share 0.5 keeps all 4
    assert ordered(changes, losses, 0.4)[0].tolist() == [2]  # n 5, share 0.4 keeps one
    assert ordered(np.zeros(3), np.array([3.0, 1.0, 2.0]), 0.0)[0].tolist() == [0, 1, 2]
    assert [num_within(np.array([4, 4, 4]), budget) for budget in (1, 4, 5, 8, 99)] == [1, 1, 2, 2, 3]


def recipe_of(demo: Path, folder: Path, **arms) -> Path:
    own = {"warm": {"select": {"strategy": "random", "ratio": 0.1}}, "base": {"finetune": {"method": "none"}}}
    recipe = {
        "name": "tiny", "pool": {"path": str(demo / "pool.json")}, "model": {"path": str(demo / "model")},
        "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks")}, "baselines": ["warm"],
        "arms": {**own, **arms},
        "seeds": {"train": [3, 4]},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    return folder / "recipe.yaml"


def test_one_training_calibrates_and_is_evaluated_and_one_pass_serves_all_arms(demo, tmp_path):
    from selectit.plan.build import build
    from selectit.recipe.load import load

    arms = {
        "delta": {"select": {"strategy": "delta_entropy", "calibrated": "warm"}},
        "entropy": {"select": {"strategy": "entropy"}},
        "loss": {"select": {"strategy": "perplexity"}},
        "far": {"select": {"strategy": "k_center", "pooling": "mean"}},
    }
    plan = build(load(recipe_of(demo, tmp_path, **arms)))
    losses = [stage for stage in plan.stages if stage.kind == "losses"]
    assert [stage.config.quantities for stage in losses if not stage.inputs] == [("loss", "entropy", "mean")]
    [tuned] = [stage for stage in losses if stage.inputs]
    warm = {cell.stage.inputs[0][1] for row in plan.rows if row.arm == "warm" for cell in row.cells}
    assert tuned.config.quantities == ("loss", "entropy")
    assert tuned.inputs[0][1] in warm and tuned.inputs[0][1].config.seed == 3
    assert "finetune warm" in plan.title(tuned)


@pytest.mark.parametrize("named", ["base", "delta", "nobody"])
def test_an_arm_that_cannot_calibrate_is_refused(demo, tmp_path, named):
    from selectit.errors import UserError
    from selectit.recipe.load import load

    arms = {"delta": {"select": {"strategy": "delta_entropy", "calibrated": named}}}
    with pytest.raises(UserError, match=rf"found '{named}'; it must name an arm that trains the same model .*\(warm\)"):
        load(recipe_of(demo, tmp_path, **arms))
