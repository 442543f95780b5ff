"""Strategies that need no model, each tested against a slow one that is written from its definition alone."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_work import run_selection

from selectit.config import ModelConfig, PoolConfig, SelectStage
from selectit.errors import UserError
from selectit.selection.registry import shipped


def select(folder: Path, rows: list[dict] | Path, bad_rows: str = "refuse", tokenizer: Path | None = None, **fields):
    """Selected positions, best first; the lines of scores.jsonl; selection.json."""
    folder.mkdir()
    if isinstance(rows, list):
        (folder / "pool.json").write_text(json.dumps(rows))
        rows = folder / "pool.json"
    model = None if tokenizer is None else ModelConfig(path=str(tokenizer))
    pool = PoolConfig(path=str(rows), bad_rows=bad_rows)
    config = SelectStage(pool=pool, select=shipped().read(fields), tokenizer=model)
    chosen, lines, selection = run_selection(config, folder / "out")
    return [line["row"] for line in chosen], lines, selection


@pytest.fixture(scope="module")
def alpaca(shared) -> list[dict]:
    [path] = (shared / "alpaca").glob("*.json")
    return json.loads(path.read_text())


# ZIP


def ratio_of(rows: list[Any]) -> float:
    text = str(rows).encode("utf-8")
    return len(text) / len(zlib.compress(text, level=9))


def slow_zip(rows: list[dict], budget: int, k1: int, k2: int, k3: int, lost: bool) -> list[int]:
    """The definition, list by list: every ratio is that of a whole list of dicts, written and compressed anew."""
    state = [float(np.float32(ratio_of([row]))) for row in rows]
    gone: set[int] = set()
    selected: list[int] = []
    while len(selected) < budget:
        first = sorted((i for i in range(len(rows)) if i not in gone), key=lambda i: (state[i], i))[:k1]
        for i in first:
            state[i] = float(np.float32(ratio_of([rows[s] for s in selected] + [rows[i]])))
        second = sorted(first, key=lambda i: (state[i], first.index(i)))[:k2]
        turn: list[int] = []
        while len(turn) < min(k3, len(second)):
            left = [i for i in second if i not in turn]
            found = [float(np.float32(ratio_of([rows[t] for t in turn] + [rows[i]]))) for i in left]
            turn.append(left[found.index(min(found))])
        selected += turn
        gone |= set(second if lost else turn)
    return selected[:budget]


SIZES = {"num_candidates": 40, "num_kept": 12, "num_picked": 5}


@pytest.mark.parametrize("fidelity", ["released_code", "corrected"])
def test_zip_is_its_definition_on_real_rows(alpaca, tmp_path, fidelity):
    rows = alpaca[:160]
    order, lines, selection = select(tmp_path / "a", rows, strategy="zip", ratio=0.2, fidelity=fidelity, **SIZES)
    assert order == slow_zip(rows, 32, 40, 12, 5, fidelity == "released_code")
    assert lines[3]["compression_ratio"] == pytest.approx(ratio_of([rows[3]]), rel=1e-6)
    assert selection["zlib_version"] == zlib.ZLIB_RUNTIME_VERSION and selection["num_unscored"] == 0


def test_zip_s_two_readings_differ_in_the_rows_that_a_turn_kept_and_did_not_pick(alpaca, tmp_path):
    found = {
        fidelity: select(tmp_path / fidelity, alpaca[:160], strategy="zip", ratio=0.2, fidelity=fidelity, **SIZES)[0]
        for fidelity in ("released_code", "corrected")
    }
    assert found["released_code"][:5] == found["corrected"][:5] and found["released_code"] != found["corrected"]


def test_what_is_fed_row_by_row_compresses_as_the_whole_list(alpaca):
    from selectit.selection.strategies.zip import CompressedList

    behind, rows = CompressedList(), alpaca[:60]
    for number, row in enumerate(rows):
        text = str(row).encode()
        assert behind.ratios_with([text])[0] == np.float32(ratio_of(rows[: number + 1]))
        behind.append(text)


def test_zip_picks_no_row_twice_and_can_take_every_row(alpaca, tmp_path):
    order, *_ = select(tmp_path / "a", alpaca[:60], strategy="zip", ratio=1.0, **SIZES)
    assert sorted(order) == list(range(60))  # the released code picked 60 rows of 60, 49 of them distinct


def test_zip_refuses_what_the_released_code_leaves_undefined_before_anything_runs(alpaca, tmp_path):
    fields = {"strategy": "zip", "fidelity": "released_code", **SIZES}
    assert len(select(tmp_path / "a", alpaca[:64], ratio=15 / 64, **fields)[0]) == 15  # 40 rows are left for turn 3
    with pytest.raises(UserError, match="leave fewer than num_candidates 40 of 64 rows"):
        select(tmp_path / "b", alpaca[:64], ratio=16 / 64, **fields)
    with pytest.raises(UserError, match="each may be at most as large as the next"):
        select(tmp_path / "c", alpaca[:64], ratio=0.2, strategy="zip", num_kept=3, num_picked=5)


def test_zip_takes_one_of_two_equal_rows_before_the_other(alpaca, tmp_path):
    rows = [*alpaca[:40], *alpaca[:40]]
    order, *_ = select(tmp_path / "a", rows, strategy="zip", ratio=0.25, **SIZES)
    assert order == slow_zip(rows, 20, 40, 12, 5, lost=False)
    assert len({at % 40 for at in order}) == 20  # a copy compresses to nothing behind its original


def test_zip_never_picks_a_row_that_cannot_be_used(alpaca, tmp_path):
    rows = [{**row, "output": "" if at in (3, 7) else row["output"]} for at, row in enumerate(alpaca[:50])]
    order, lines, selection = select(tmp_path / "a", rows, "exclude", strategy="zip", ratio=0.8, **SIZES)
    kept = [at for at in range(50) if at not in (3, 7)]
    assert order == [kept[at] for at in slow_zip([rows[at] for at in kept], 40, 40, 12, 5, lost=False)]
    assert lines[3]["failure"] == "empty_response" and selection["failures"] == {"empty_response": 2, "not_picked": 8}
    assert selection["left_out"] == ["not_picked"] and selection["num_unscored"] == 2


# length ratio


def test_the_length_ratio_is_that_of_all_responses_over_all_instructions(tmp_path):
    turns = [("human", "a b"), ("gpt", "one two three"), ("human", "c"), ("gpt", "four")]
    talk = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    [order, lines, _] = select(tmp_path / "a", [talk, talk], strategy="length_ratio", unit="words", ratio=0.5)
    assert lines[0]["score"] == pytest.approx(4 / 3) and order == [1]
    assert (lines[0]["response_length"], lines[0]["instruction_length"]) == (4, 3)


@pytest.mark.parametrize("order", ["high", "low"])
def test_length_ratio_takes_either_end_of_real_rows(alpaca, tmp_path, demo, order):
    from transformers import AutoTokenizer

    rows, tokenizer = alpaca[:100], AutoTokenizer.from_pretrained(demo / "model")
    chosen, lines, _ = select(
        tmp_path / "a", rows, tokenizer=demo / "model", strategy="length_ratio", order=order, ratio=0.2
    )
    tokens = [{name: len(tokenizer.tokenize(text)) for name, text in row.items()} for row in rows]
    ratios = [row["output"] / max(1, row["instruction"] + row["input"]) for row in tokens]
    sign = 1 if order == "high" else -1
    assert [line["score"] for line in lines] == [sign * ratio for ratio in ratios]
    assert chosen == sorted(range(100), key=lambda at: (sign * ratios[at], at), reverse=True)[:20]


def test_length_ratio_does_not_depend_on_the_order_of_the_rows(alpaca, tmp_path):
    rows = [{"id": str(at), **row} for at, row in enumerate(alpaca[:60])]
    fields = {"strategy": "length_ratio", "unit": "chars", "ratio": 0.25}
    forwards = select(tmp_path / "a", rows, **fields)[0]
    backwards = [59 - at for at in select(tmp_path / "b", rows[::-1], **fields)[0]]
    assert forwards == backwards


def test_zip_does_not_depend_on_the_order_of_the_rows(alpaca, tmp_path):
    fields = {"strategy": "zip", "ratio": 0.25, **SIZES}
    forwards = select(tmp_path / "a", alpaca[:100], **fields)[0]
    assert forwards == [99 - at for at in select(tmp_path / "b", alpaca[99::-1], **fields)[0]]
