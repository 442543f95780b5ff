from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from selectit.config import ModelConfig, PoolConfig, SelectStage
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.selection.ranking import num_selected, random_scores, ranking
from selectit.selection.stage import run
from selectit.selection.strategies.full import FullSelect
from selectit.selection.strategies.length import LengthSelect
from selectit.selection.strategies.random import RandomSelect
from selectit.selection.strategies.random_matched import RandomMatchedSelect, matched
from selectit.selection.strategies.random_rest import RandomRestSelect
from selectit.tracking import Tracker


def selected(pool: Path, select, out: Path, seed=None, inputs=None, tokenizer=None) -> list[dict]:
    out.mkdir()
    config = SelectStage(pool=PoolConfig(path=str(pool)), select=select, seed=seed, tokenizer=tokenizer)
    run(config, inputs or {}, out, Tracker(out, Console(quiet=True)))
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def taken(lines: list[dict]) -> set[int]:
    return {line["row"] for line in lines if line["selected"]}


def test_equal_scores_prefer_the_later_row_and_nan_comes_last():
    assert ranking(np.array([1.0, 2.0, 2.0, np.nan, 0.0])) == [2, 1, 0, 4, 3]


def test_counts_are_the_released_codes():
    assert num_selected(0.2, 999, 999) == 199
    with pytest.raises(UserError, match="is no row"):
        num_selected(0.01, 50, 50)
    with pytest.raises(UserError, match="only 3 may be taken"):
        num_selected(0.5, 10, 3)


def test_random_is_seeded_nested_and_blind_to_the_order_of_the_pool(small_pool):
    ids = pa.array([row.row_id for row in read_pool(PoolConfig(path=str(small_pool)))])
    one = random_scores(ids, 1, "random")
    assert ranking(one) != ranking(random_scores(ids, 2, "random"))
    assert ranking(one) != ranking(random_scores(ids, 1, "random_rest"))
    np.testing.assert_array_equal(random_scores(ids[::-1], 1, "random"), one[::-1])
    assert set(ranking(one)[:4]) < set(ranking(one)[:8])


def test_random_draws_are_uniform(small_pool):
    ids = pa.array([row.row_id for row in read_pool(PoolConfig(path=str(small_pool)))])
    counts = np.zeros(len(ids))
    for seed in range(400):
        counts[ranking(random_scores(ids, seed, "random"))[:8]] += 1
    assert counts.sum() == 3200
    assert counts.min() > 80 - 5 * 8 and counts.max() < 80 + 5 * 8  # expected 80, standard deviation 8


def test_random_rest_takes_nothing_of_the_other_arm(small_pool, tmp_path):
    first = taken(selected(small_pool, RandomSelect(strategy="random", ratio=0.5), tmp_path / "a", seed=1))
    rest = RandomRestSelect(strategy="random_rest", ratio=0.25, rest_of="a")
    lines = selected(small_pool, rest, tmp_path / "b", seed=1, inputs={"rest_of": tmp_path / "a"})
    assert len(taken(lines)) == 10 and not taken(lines) & first
    assert {line["row"] for line in lines if line["failure"] == "taken_by_the_other_arm"} == first


def test_a_rest_that_is_too_small_is_refused(small_pool, tmp_path):
    selected(small_pool, RandomSelect(strategy="random", ratio=0.9), tmp_path / "a", seed=1)
    rest = RandomRestSelect(strategy="random_rest", ratio=0.25, rest_of="a")
    with pytest.raises(UserError, match="only 4 may be taken"):
        selected(small_pool, rest, tmp_path / "b", seed=1, inputs={"rest_of": tmp_path / "a"})


def test_random_matched_has_the_lengths_of_the_other_arm(small_pool, tmp_path):
    longest = LengthSelect(strategy="length", ratio=0.25, unit="chars")
    model = selected(small_pool, longest, tmp_path / "a")
    match = RandomMatchedSelect(strategy="random_matched", match="a", unit="chars", num_bins=4)
    drawn = [
        selected(small_pool, match, tmp_path / f"b{seed}", seed=seed, inputs={"match": tmp_path / "a"})
        for seed in range(2)
    ]
    lengths = {line["row"]: line["response_chars"] for line in model}
    wanted = [lengths[row] for row in taken(model)]
    for lines in drawn:
        assert len(taken(lines)) == 10 and min(lengths[row] for row in taken(lines)) >= min(wanted)
        assert {line["failure"] for line in lines if not line["selected"]} == {"length_bin_full"}
    assert json.loads((tmp_path / "b0" / "selection.json").read_text())["num_unscored"] == 0


def test_matched_draws_as_many_as_the_other_arm_has_in_each_bin():
    generator = np.random.default_rng(0)
    lengths, scores = generator.integers(1, 300, 2000).astype(float), generator.random(2000)
    usable = generator.random(2000) < 0.95
    model = usable & (generator.random(2000) < lengths / 1000)  # longer rows are likelier
    chosen = matched(scores, lengths, usable, model, num_bins=20)
    assert chosen.sum() == model.sum() and not (chosen & ~usable).any()
    assert abs(lengths[chosen].mean() - lengths[model].mean()) < 3 < lengths[model].mean() - lengths[usable].mean()
    inside = (lengths >= lengths[model].min()) & (lengths <= lengths[model].max())
    assert (matched(scores, lengths, inside & usable, inside & usable, num_bins=1) == (inside & usable)).all()
    one_length = matched(scores, np.ones(2000), usable, model, num_bins=20)
    assert one_length.sum() == model.sum() and scores[one_length].min() > scores[usable & ~one_length].max()


def test_full_takes_every_usable_row(small_pool, tmp_path):
    assert taken(selected(small_pool, FullSelect(strategy="full"), tmp_path / "a")) == set(range(40))


@pytest.mark.parametrize(("field", "unit"), [("response", "chars"), ("instruction", "words"), ("full", "chars")])
def test_length_takes_the_longest_rows(small_pool, tmp_path, field, unit):
    lines = selected(small_pool, LengthSelect(strategy="length", ratio=0.25, field=field, unit=unit), tmp_path / "a")
    raw = json.loads(small_pool.read_text())
    texts = {
        "response": [[r["output"]] for r in raw],
        "instruction": [[r["instruction"], r["input"]] for r in raw],
        "full": [[r["instruction"], r["input"], r["output"]] for r in raw],
    }[field]
    lengths = [sum(len(t) if unit == "chars" else len(t.split()) for t in parts) for parts in texts]
    assert [line["score"] for line in lines] == lengths
    assert min(lengths[i] for i in taken(lines)) >= max(lengths[i] for i in range(40) if i not in taken(lines))


def test_length_in_tokens_counts_no_special_tokens(small_pool, tmp_path, demo):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo / "model")
    model = ModelConfig(path=str(demo / "model"))
    lines = selected(small_pool, LengthSelect(strategy="length", ratio=0.25), tmp_path / "a", tokenizer=model)
    raw = json.loads(small_pool.read_text())
    assert [line["score"] for line in lines] == [len(tokenizer.tokenize(r["output"])) for r in raw]


def test_rows_that_cannot_be_used_rank_last_and_are_never_taken(small_pool, tmp_path):
    raw = json.loads(small_pool.read_text())
    raw[3]["output"] = ""
    small_pool.write_text(json.dumps(raw))
    out = tmp_path / "a"
    out.mkdir()
    pool = PoolConfig(path=str(small_pool), bad_rows="exclude")
    run(SelectStage(pool=pool, select=FullSelect(strategy="full")), {}, out, Tracker(out, Console(quiet=True)))
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert lines[3]["failure"] == "empty_response" and lines[3]["rank"] == 40 and lines[3]["score"] is None
    assert taken(lines) == set(range(40)) - {3}
    assert json.loads((out / "selection.json").read_text())["failures"] == {"empty_response": 1}
