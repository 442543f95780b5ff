"""Rows that repeat an earlier one: against definitions that share no code with what finds them."""

from __future__ import annotations

import json
import random

import pytest
from rich.console import Console

from selectit.config import PoolConfig, SelectStage
from selectit.data import kept
from selectit.data.inspection import inspect_pool
from selectit.data.pool import read_pool
from selectit.selection.registry import shipped
from selectit.selection.stage import run
from selectit.tracking import Tracker


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept.forget()


def pool(tmp_path, rows, how, name="pool", **settings) -> PoolConfig:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(rows))
    return PoolConfig(path=str(path), **{"deduplicate": how, **settings})


def left_out(tmp_path, rows, how, **settings) -> dict[int, int]:
    """Row -> the earlier row that it repeats."""
    found = read_pool(pool(tmp_path, rows, how, **settings))
    kind = {"exact": "exact_duplicate", "near": "near_duplicate"}[how]
    return {row.index: int(row.reason.split()[-1]) for row in found if row.failure == kind}


def pair(instruction, output, **more):
    return {"instruction": instruction, "output": output, **more}


@pytest.fixture(scope="module")
def real(shared) -> list[dict]:
    """Rows of Alpaca, and some of them again with words changed, dropped or added."""
    [path] = (shared / "alpaca").glob("*.json")
    rows, draw = json.loads(path.read_text())[:300], random.Random(0)
    for row in draw.sample(rows, 150):
        words = row["output"].split(" ")
        for _ in range(draw.randint(0, 1 + len(words) // 15)):
            words[draw.randrange(len(words))] = draw.choice(["another", "", "two words"])
        rows.append({**row, "output": " ".join(words)})
    draw.shuffle(rows)
    return rows


def words_of(text: str) -> list[str]:
    """Of text in Latin letters."""
    return "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()


def slow_near(rows: list[dict]) -> dict[int, int]:
    """Every row against every earlier one that stays."""
    sets, found = [], {}
    for at, row in enumerate(rows):
        asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        words = words_of(f"user {asked} assistant {row['output']}")
        own = {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}
        earlier = next((a for a, other in sets if len(own & other) / len(own | other) >= 0.8), None)
        if earlier is None:
            sets.append((at, own))
        else:
            found[at] = earlier
    return found


def test_near_duplicates_of_real_rows_are_those_of_all_pairs(real, tmp_path):
    rows = [row for row in real if row["output"].strip() and row["instruction"].strip()]
    rows = [row for row in rows if not any("\u3040" <= c <= "\u9fff" for c in "".join(map(str, row.values())))]
    expected = slow_near(rows)
    assert len(expected) > 50
    assert left_out(tmp_path, rows, "near") == expected


def test_exact_duplicates_are_rows_of_equal_roles_and_stripped_texts(real, tmp_path):
    first: dict[tuple, int] = {}
    expected = {}
    for at, row in enumerate(real):
        key = (
            (f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]).strip(),
            row["output"].strip(),
        )
        if row["output"].strip() and row["instruction"].strip() and first.setdefault(key, at) != at:
            expected[at] = first[key]
    assert expected and left_out(tmp_path, real, "exact", bad_rows="exclude") == expected
    found = inspect_pool(pool(tmp_path, real, None, bad_rows="exclude"))
    assert found.num_repeated == len(expected)  # inspect counts what exact leaves out


def test_what_is_exact_is_near_and_formats_and_ids_change_nothing(tmp_path):
    rows = [pair("Say 1.", "One."), pair(" Say 1. ", "One.\n"), pair("!!!", "???"), pair("!!!", "...")]
    assert left_out(tmp_path, rows, "exact") == {1: 0} and left_out(tmp_path, rows, "near") == {1: 0, 3: 2}
    roles = (("user", "instruction"), ("assistant", "output"))
    turns = [{"id": n, "messages": [{"role": r, "content": row[c]} for r, c in roles]} for n, row in enumerate(rows)]
    assert left_out(tmp_path, turns, "exact") == {1: 0} and left_out(tmp_path, turns, "near") == {1: 0, 3: 2}
    swapped = [pair("One two three four five.", "Six."), pair("Six.", "One two three four five.")]
    assert left_out(tmp_path, swapped, "near") == {}


def test_of_chinese_each_character_is_a_word(tmp_path):
    text = "今天天气很好我们去公园散步看见了很多花和鸟还有孩子们在草地上玩耍非常开心"
    rows = [pair("写一段话", text), pair("写一段话", text[:-1] + "哦"), pair("写一段话", text[::-1])]
    assert left_out(tmp_path, rows, "near") == {1: 0}


def test_the_first_row_of_a_group_stays_and_bad_rows_are_none_of_it(tmp_path):
    rows = [
        pair("Say 1.", ""),
        pair("Say 1.", ""),
        pair("Say 2.", "Two."),
        pair("Say 2.", "Two."),
        pair("Say 2.", "Two."),
    ]
    found = read_pool(pool(tmp_path, rows, "exact", bad_rows="exclude"))
    assert [row.failure for row in found] == ["empty_response"] * 2 + [None] + ["exact_duplicate"] * 2


@pytest.mark.parametrize("smallest", [0, 1 << 40])
@pytest.mark.parametrize("how", ["exact", "near"])
def test_a_selection_takes_none_of_them_and_names_the_row_that_they_repeat(tmp_path, monkeypatch, smallest, how):
    monkeypatch.setattr(kept, "SMALLEST_BYTES", smallest)
    rows = [pair(f"Say {n % 4}.", "Yes.") for n in range(10)]
    for name in ("a", "b"):  # the second reads what the first kept
        out = tmp_path / name
        out.mkdir()
        config = SelectStage(pool=pool(tmp_path, rows, how), select=shipped().read({"strategy": "full"}))
        summary = run(config, {}, out, Tracker(out, Console(quiet=True)))
        lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
        assert [line["row"] for line in lines if line["selected"]] == [0, 1, 2, 3]
        assert [line["repeats_row"] for line in lines] == [None] * 4 + [0, 1, 2, 3, 0, 1]
        selection = json.loads((out / "selection.json").read_text())
        assert selection["failures"] == {f"{how}_duplicate": 6} and selection["left_out"] == [f"{how}_duplicate"]
        assert summary["num_unscored"] == 0
        kept.forget()
