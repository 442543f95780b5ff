"""Entropies and features out of the pass of the losses equal plain transformers on one row at a time."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from killed_reading import read_after_a_kill
from rich.console import Console
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from selectit.config import LossStage, ModelConfig, NeedsFeatures, PoolConfig, SelectFields, SelectStage
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.inference.batch import Batch, LossText, batches, common_prefix
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.token_rater import Predictions, entropy, loss, make_token_rater
from selectit.scoring import loss_stage
from selectit.scoring.loss_ledger import read_features, read_losses
from selectit.scoring.loss_texts import loss_texts
from selectit.selection.strategy import Candidates
from selectit.store.kinds import KINDS
from selectit.tracking import Tracker

POOLINGS = ("mean", "weighted_mean", "last")
ALL = ("loss", "entropy", *POOLINGS)
VOCABULARY = 97
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
}  # fmt: skip
MODELS = {
    "packed": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "padded": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3)
    ),
    "capped logits": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0, sliding_window=16)
    ),
}


@torch.no_grad()
def plain(model, ids: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    """By the definitions, of one row alone, in float64 behind the model's own numbers."""
    found = model(torch.tensor(ids[None].astype(np.int64)), output_hidden_states=True)
    states = found.hidden_states[-1][0].double().numpy()
    logits = found.logits[0, :-1].double()
    shares = logits.softmax(dim=-1)
    entropies = -(shares * shares.log()).sum(dim=-1).numpy()
    losses = -shares[range(len(ids) - 1), ids[1:].astype(np.int64)].log().numpy()
    weights = np.arange(1, len(ids) + 1) / sum(range(1, len(ids) + 1))
    return {
        "response_loss": losses[scored[1:]].mean(),
        "response_entropy": entropies[scored[1:]].mean(),
        "full_entropy": entropies.mean(),
        "mean": states.mean(axis=0),
        "weighted_mean": sum(weight * state for weight, state in zip(weights, states, strict=True)),
        "last": states[-1],
    }


def made_up_texts(lengths, prefix) -> list[LossText]:
    generator = np.random.default_rng(0)
    shared = generator.integers(1, VOCABULARY, prefix)
    texts = []
    for number, length in enumerate(lengths):
        ids = np.concatenate([shared, generator.integers(1, VOCABULARY, length)]).astype(np.int32)
        scored = np.arange(len(ids)) % 2 == 1
        texts.append(LossText(((str(number), 0),), ids, scored=scored))
    return texts


@pytest.mark.parametrize("prefix", [1, 2, 9])
@pytest.mark.parametrize("name", MODELS)
def test_every_path_gives_plain_entropies_and_vectors_in_any_order_of_batches(name, prefix):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    rater = make_token_rater(model, (loss, entropy), POOLINGS)
    assert rater.name == ("packed" if name == "packed" else "padded")
    texts = made_up_texts((1, 2, 3, 40, 64, 65, 90, 5), prefix)
    expected = {text.keys: plain(model, text.ids, text.scored) for text in texts}
    shared = common_prefix(texts)
    todo = [*batches(texts, shared, 150, rater.pads), Batch(texts[:2]), Batch(texts[2:], shared)]
    random.Random(0).shuffle(todo)
    for batch in todo:
        for text, numbers in zip(batch.items, rater.rate(batch), strict=True):
            wanted = expected[text.keys]
            entropies = numbers[2:4] / [text.scored.sum(), len(text.ids) - 1]
            np.testing.assert_allclose(
                entropies, [wanted["response_entropy"], wanted["full_entropy"]], rtol=1e-5, atol=1e-5
            )
            for pooling, vector in zip(POOLINGS, numbers[4:].reshape(3, -1), strict=True):
                np.testing.assert_allclose(vector, wanted[pooling], rtol=1e-4, atol=1e-5)


def test_the_entropy_of_a_sure_and_of_an_impossible_token():
    logits = torch.tensor([[0.0, -float("inf"), 0.0], [50.0, 0.0, -50.0]])
    found = entropy(Predictions(logits, torch.tensor([0, 0])))
    np.testing.assert_allclose(found.numpy(), [np.log(2), 51 * np.exp(-50)], atol=1e-6)


def pool_of(rows: list[dict], folder: Path) -> PoolConfig:
    folder.mkdir(exist_ok=True)
    (folder / "pool.json").write_text(json.dumps(rows))
    return PoolConfig(path=str(folder / "pool.json"), bad_rows="exclude")


def take(config: LossStage, out: Path) -> Path:
    out.mkdir(exist_ok=True)
    loss_stage.run(config, {}, out, Tracker(out, Console(quiet=True)))
    return out


def row_ids(config: LossStage) -> pa.Array:
    return pa.array([row.row_id for row in read_pool(config.pool)])


def matrices(config: LossStage, out: Path) -> dict[str, np.ndarray]:
    folder, ids = take(config, out), row_ids(config)
    losses = read_losses(folder / "ledger.parquet", ids)
    found = {name: read_features(folder, name, ids) for name in POOLINGS}
    return {**found, "response_entropy": losses.response_entropy, "full_entropy": losses.full_entropy}


@pytest.fixture(scope="module")
def real_config(shared, tmp_path_factory) -> LossStage:
    rows = json.loads((shared / "alpaca" / "alpaca_en_demo.json").read_text())
    pool = pool_of(random.Random(1).sample(rows, 12), tmp_path_factory.mktemp("real_features"))
    model = ModelConfig(path=str(shared / "models" / "stories260K"))
    return LossStage(pool=pool, model=model, text="conditioned", template="alpaca", quantities=ALL, num_processes=1)


def oracle(config: LossStage) -> dict[str, np.ndarray]:
    model, tokenizer = load_model(config.model), load_tokenizer(config.model)
    texts = loss_texts(tokenizer, config, [[row] for row in read_pool(config.pool)])
    rows = [plain(model, text.ids, text.scored) for text in texts]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_features_of_real_rows_are_those_of_each_row_alone_with_any_batches_and_processes(real_config, tmp_path):
    expected = oracle(real_config)
    for number, changes in enumerate(({}, {"batch_tokens": 1}, {"num_processes": 2})):
        found = matrices(real_config.model_copy(update=changes), tmp_path / str(number))
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_losses_do_not_depend_on_what_else_is_kept(real_config, tmp_path):
    alone = take(real_config.model_copy(update={"quantities": ("loss",)}), tmp_path / "alone")
    assert sorted(path.name for path in alone.iterdir()) == ["ledger.parquet", "losses.json", "metrics.jsonl"]
    both = parquet.read_table(take(real_config, tmp_path / "all") / "ledger.parquet")
    assert both.select(parquet.read_schema(alone / "ledger.parquet").names) == parquet.read_table(
        alone / "ledger.parquet"
    )


def test_the_order_of_rows_and_their_duplicates_change_no_vector(real_config, tmp_path):
    rows = json.loads(Path(real_config.pool.path).read_text())[:6]
    first = matrices(real_config.model_copy(update={"pool": pool_of(rows, tmp_path / "p")}), tmp_path / "1")
    twice = pool_of([*rows[::-1], {"instruction": "Empty.", "output": ""}, *rows], tmp_path / "q")
    second = matrices(real_config.model_copy(update={"pool": twice}), tmp_path / "2")
    for name, values in first.items():
        np.testing.assert_allclose(second[name][:6][::-1], values, rtol=1e-4, atol=1e-4)
        assert (np.asarray(second[name][7:]) == second[name][:6][::-1]).all()
        assert np.isnan(second[name][6]).all()


def test_a_killed_stage_resumes_with_the_vectors_that_it_had(real_config, tmp_path, monkeypatch):
    whole = matrices(real_config, tmp_path / "whole")
    config = real_config.model_copy(update={"batch_tokens": 200})
    monkeypatch.setattr("selectit.scoring.ledger.FLUSH_SECONDS", 0)
    monkeypatch.setattr("selectit.scoring.ledger.MERGED_PARTS", 2)
    monkeypatch.setattr("selectit.scoring.ledger.JOIN_BYTES", 2000)
    out = tmp_path / "killed"
    seen = read_after_a_kill(monkeypatch, take, config, out, batch=6)
    found = matrices(config, out)
    assert 0 < len(seen) < 12 and not (out / "ledger").exists()
    for name, values in whole.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


class Reads(SelectFields):
    strategy: str = "reads"

    def needs(self):
        return (NeedsFeatures("vectors", pooling="mean"), NeedsFeatures("others", pooling="last"))

    def score_name(self):
        return None


def test_a_strategy_reads_features_by_the_name_that_it_gave_them(real_config, tmp_path):
    folder, ids = take(real_config, tmp_path / "out"), row_ids(real_config)
    stage = SelectStage.model_construct(pool=real_config.pool, select=Reads())
    pool = Candidates(stage, ids, [None] * len(ids), {"vectors": folder, "others": folder})
    found = pool.features("vectors")
    assert isinstance(found, np.memmap) and found.dtype == np.float32
    assert (found == np.load(folder / "mean.npy")).all() and (pool.features("others") != found).any()
    with pytest.raises(UserError, match="another pool"):
        Candidates(stage, ids[::-1], [None] * len(ids), {"vectors": folder}).features("vectors")
    (folder / "mean.npy").unlink()
    with pytest.raises(UserError, match="did not keep"):
        pool.features("vectors")


def test_later_stages_depend_on_the_vectors_too(real_config, tmp_path):
    from selectit.store.artifact import content_hash, is_read_later
    from selectit.store.fingerprint import Hasher

    folder = take(real_config, tmp_path / "out")
    before = content_hash(folder, KINDS["losses"].content, Hasher())
    matrix = np.load(folder / "last.npy", mmap_mode="r+")
    matrix[0, 0] += 1
    matrix.flush()
    assert content_hash(folder, KINDS["losses"].content, Hasher()) != before
    assert is_read_later("losses", "last.npy")


def test_quantities_stand_in_one_order(real_config):
    with pytest.raises(ValueError, match="loss, entropy, last"):
        LossStage.model_validate({**real_config.model_dump(), "quantities": ("last", "entropy")})
