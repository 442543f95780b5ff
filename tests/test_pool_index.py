"""What is kept of a pool while it is scored, and that nothing is lost, doubled or mixed up for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from selectit.config import LossStage, ModelConfig, PoolConfig, ScoreStage
from selectit.data import index as pool_index
from selectit.errors import UserError
from selectit.inference.load import load_tokenizer
from selectit.inference.loaded import FittingRater
from selectit.scoring import ledger, loss_stage, stage
from selectit.scoring.ledger import LedgerWriter, Record
from selectit.scoring.loss_texts import index_losses, loss_batches
from selectit.scoring.texts import index_ratings, rating_batches
from selectit.tracking import Tracker

PROMPTS = ("Rate it.\n\n", "Is it good?\n\n")


def rows_of(num_rows: int, num_texts: int) -> list[dict]:
    return [
        {"id": f"r{n}", "instruction": f"Say {n % num_texts}.", "output": "Well. " * (n % 5)} for n in range(num_rows)
    ]


@pytest.fixture
def pool(tmp_path) -> PoolConfig:
    """53 rows, of which every fifth has no response, 28 distinct texts."""
    path = tmp_path / "pool.jsonl"
    write(path, rows_of(53, 35))
    return PoolConfig(path=str(path), bad_rows="exclude")


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(pool_index, "CHUNK_ROWS", 4)
    monkeypatch.setattr(ledger, "JOIN_RECORDS", 7)
    monkeypatch.setattr(ledger, "FLUSH_SECONDS", -1)


@pytest.fixture
def rating(pool, demo) -> ScoreStage:
    return ScoreStage(pool=pool, model=ModelConfig(path=str(demo / "model")), prompts=PROMPTS, num_processes=1)


@pytest.fixture
def losses(pool, demo) -> LossStage:
    model = ModelConfig(path=str(demo / "model"))
    return LossStage(pool=pool, model=model, text="conditioned", template="alpaca", num_processes=1)


def usable_ids() -> list[str]:
    return [row["id"] for row in rows_of(53, 35) if row["output"]]


def test_rows_of_equal_text_come_together_in_the_order_of_their_first_rows(pool, small_chunks):
    index = index_ratings(pool)
    assert (index.num_rows, index.num_usable, index.num_texts) == (53, 42, 28)
    assert index.failures == {"empty_response": 11}
    chunks = list(index.groups(np.zeros(53, dtype=bool)))
    assert [len(chunk) for chunk in chunks] == [4] * 7
    groups = [group for chunk in chunks for group in chunk]
    assert [group[0].index for group in groups] == [n for n in range(35) if n % 5]
    assert [[row.row_id for row in group] for group in groups[:2]] == [["r1", "r36"], ["r2", "r37"]]
    assert sorted(row.row_id for group in groups for row in group) == sorted(usable_ids())


def test_what_is_done_is_left_out_and_moves_no_chunk(pool, small_chunks):
    done = np.zeros(53, dtype=bool)
    done[[1, 2, 37, 8, 43]] = True
    chunks = list(index_ratings(pool).groups(done))
    assert [[row.row_id for row in group] for group in chunks[0]] == [["r36"], ["r3", "r38"], ["r4", "r39"]]
    assert [len(chunk) for chunk in chunks] == [3, 3, 4, 4, 4, 4, 4]
    assert list(index_ratings(pool).groups(np.ones(53, dtype=bool))) == []


def test_texts_that_are_parted_differently_are_different_texts(tmp_path):
    write(
        tmp_path / "pool.jsonl", [{"instruction": a, "output": b} for a, b in [("x1", "y"), ("x", "1y"), ("x1", "y")]]
    )
    assert index_ratings(PoolConfig(path=str(tmp_path / "pool.jsonl"))).num_texts == 2


@pytest.mark.parametrize("kind", ["rating", "losses"])
def test_the_shares_of_three_processes_are_disjoint_and_together_all(request, kind, small_chunks):
    config = request.getfixturevalue(kind)
    tokenizer = load_tokenizer(config.model)

    def keys(share: tuple[int, int], done: np.ndarray) -> set[tuple[str, int]]:
        if kind == "rating":
            batches = rating_batches(
                tokenizer, config, index_ratings(config.pool), np.stack([done, done]), 200, True, share=share
            )
        else:
            batches = loss_batches(tokenizer, config, index_losses(config.pool), done, 200, True, share)
        found = [key for batch in batches for text in batch.items for key in text.keys]
        assert len(found) == len(set(found))
        return set(found)

    none, some = np.zeros(53, dtype=bool), np.arange(53) % 2 == 0
    shares = [keys((rank, 3), none) for rank in range(3)]
    assert sum(map(len, shares)) == len(set().union(*shares)) == len(usable_ids()) * (2 if kind == "rating" else 1)
    assert set().union(*shares) == keys((0, 1), none) and max(map(len, shares)) - min(map(len, shares)) < 10
    left = [keys((rank, 3), some) for rank in range(3)]
    assert all(after < before for after, before in zip(left, shares, strict=True))
    assert set().union(*left) == keys((0, 1), some)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda rows: rows[:40], "it had 53 rows and has 40"),
        (lambda rows: [*rows, {"id": "new", "instruction": "Say.", "output": "No."}], "it had 53 rows and has more"),
        (lambda rows: [*rows[:31], {**rows[31], "output": "Other."}, *rows[32:]], "row 31 has another text"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "row 0 has another text"),
    ],
)
def test_a_pool_that_changes_while_it_is_scored_is_noticed(pool, change, reported):
    index = index_ratings(pool)
    write(Path(pool.path), change(rows_of(53, 35)))
    with pytest.raises(UserError, match=f"pool.jsonl was changed while it was scored: {reported}"):
        list(index.groups(np.zeros(53, dtype=bool)))


@pytest.mark.parametrize("kind", ["rating", "losses"])
def test_a_killed_run_resumes_and_every_row_has_one_record_in_order(request, kind, small_chunks, tmp_path, monkeypatch):
    config = request.getfixturevalue(kind).model_copy(update={"batch_tokens": 300})
    run = stage.run if kind == "rating" else loss_stage.run
    out, whole = tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        folder.mkdir()
    run(config, {}, whole, Tracker(whole, Console(quiet=True)))

    rate, num_rated = FittingRater.read, [0]

    def dies(self, batch):
        num_rated[0] += len(batch.items)
        if num_rated[0] > 20:
            raise KeyboardInterrupt
        return rate(self, batch)

    monkeypatch.setattr(FittingRater, "read", dies)
    with pytest.raises(KeyboardInterrupt):
        run(config, {}, out, Tracker(out, Console(quiet=True)))
    monkeypatch.setattr(FittingRater, "read", rate)
    run(config, {}, out, Tracker(out, Console(quiet=True)))

    table, expected = (parquet.read_table(folder / "ledger.parquet") for folder in (out, whole))
    assert table["row_id"].to_pylist() == usable_ids() * (2 if kind == "rating" else 1)
    exact = [name for name in table.column_names if table.schema.field(name).type in (pa.string(), pa.int32())]
    assert table.select(exact).equals(expected.select(exact))


def test_texts_that_are_written_alike_keep_all_their_records(demo, tmp_path):
    pairs = [("Ask.", "b\nResponse:c"), ("Ask.\nResponse:b", "c")]
    write(tmp_path / "pool.jsonl", [{"instruction": a, "output": b} for a, b in pairs])
    config = ScoreStage(
        pool=PoolConfig(path=str(tmp_path / "pool.jsonl")),
        model=ModelConfig(path=str(demo / "model")),
        prompts=PROMPTS[:1],
    )
    assert stage.run(config, {}, tmp_path, Tracker(tmp_path, Console(quiet=True)))["num_ratings"] == 2


def test_records_that_came_in_any_order_are_joined_to_the_rows(small_chunks, tmp_path):
    writer = LedgerWriter(tmp_path)
    keys = [(f"r{n}", prompt) for n in range(40) for prompt in (1, 0)]
    for at in np.random.default_rng(0).permutation(len(keys)).tolist():
        row_id, prompt = keys[at]
        writer.add([Record(row_id, prompt, [0.1] * 5, 0.5, 10 * int(row_id[1:]) + prompt, False, digest=bytes(16))])
    order = pa.array(["absent", *(f"r{n}" for n in range(40))])
    assert writer.done(order, [0, 1]).tolist() == [[False] + [True] * 40] * 2
    table = parquet.read_table(writer.finish(order))
    assert table["num_tokens"].to_pylist() == [10 * n + prompt for prompt in (0, 1) for n in range(40)]
