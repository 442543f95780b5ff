from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from selectit.config import PoolConfig
from selectit.data.pool import read_pool, write_rows
from selectit.errors import UserError

ALPACA = [
    {"instruction": "Add 2 and 3.", "input": "", "output": "5", "source": "me"},
    {"instruction": "Name the colour.", "input": "grass", "output": "Green.", "source": "me"},
]


def pool(path: Path, **settings) -> PoolConfig:
    return PoolConfig(path=str(path), **settings)


def write(path: Path, rows: list) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_the_same_rows_come_from_every_file_format(tmp_path, suffix):
    rows = read_pool(pool(write(tmp_path / f"pool{suffix}", ALPACA)))
    assert [row.instruction for row in rows] == ["Add 2 and 3.", "Name the colour.\ngrass"]
    assert [row.response for row in rows] == ["5", "Green."]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_a_subset_is_written_in_the_pools_own_format_with_every_column(tmp_path, suffix):
    config = pool(write(tmp_path / f"pool{suffix}", ALPACA))
    path = write_rows(config, read_pool(config)[1:], tmp_path)
    assert path.suffix == suffix
    [row] = read_pool(pool(path))
    assert row.raw["source"] == "me" and row.raw["output"] == "Green."


def test_sharegpt_and_messages_give_the_same_first_pair(tmp_path):
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"), ("assistant", "Ciao.")]
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    sharegpt = [{"conversations": [{"from": names[role], "value": text} for role, text in turns]}]
    messages = [{"messages": [{"role": role, "content": text} for role, text in turns]}]
    for name, rows in (("a.json", sharegpt), ("b.json", messages)):
        [row] = read_pool(pool(write(tmp_path / name, rows)))
        assert (row.instruction, row.response) == ("Be brief.\nHi", "Hello.")
        assert [m["role"] for m in row.messages] == ["system", "user", "assistant", "user", "assistant"]


def test_a_hub_dataset_folder_is_read_by_its_split(tmp_path):
    folder = tmp_path / "org" / "pool"
    (folder / "data").mkdir(parents=True)
    write(folder / "data" / "train-00000-of-00001.parquet", ALPACA[:1])
    assert [row.response for row in read_pool(pool(folder))] == ["5"]


def test_row_ids_hold_position_and_content_and_do_not_change(tmp_path):
    path = write(tmp_path / "pool.json", [ALPACA[0], ALPACA[0], ALPACA[1]])
    ids = [row.row_id for row in read_pool(pool(path))]
    assert len(set(ids)) == 3
    assert ids[0].split("-")[1] == ids[1].split("-")[1] != ids[2].split("-")[1]
    assert ids == [row.row_id for row in read_pool(pool(path))]


def test_the_pools_own_ids_are_kept(tmp_path):
    rows = [{**row, "id": f"x{index}"} for index, row in enumerate(ALPACA)]
    assert [row.row_id for row in read_pool(pool(write(tmp_path / "pool.json", rows)))] == ["x0", "x1"]


BAD_POOLS = {
    "empty pool": ([], ["has no rows"]),
    "missing column": ([ALPACA[0], {"instruction": "x"}], ["row 1", "'output' is missing", "instruction"]),
    "unknown columns": ([{"prompt": "x", "answer": "y"}], ["row 0", "answer, prompt", "sharegpt"]),
    "empty response": ([ALPACA[0], {**ALPACA[1], "output": "  "}], ["row 1", "empty response", "pool.bad_rows"]),
    "empty instruction": ([{"instruction": "", "output": "y"}], ["row 0", "empty instruction"]),
    "duplicate ids": ([{**ALPACA[0], "id": 7}, {**ALPACA[1], "id": 7}], ["row 1", "'7'", "row 0 already"]),
    "some ids": ([{**ALPACA[0], "id": 7}, ALPACA[1]], ["row 1", "no 'id'"]),
    "wrong type": ([{"instruction": "x", "output": 3}], ["row 0", "'output' is int", "must be text"]),
    "row is no object": ([ALPACA[0], "text"], ["row 1", "str"]),
    "unknown role": ([{"conversations": [{"from": "robot", "value": "x"}]}], ["row 0", "[0].from", "robot", "human"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_POOLS)
def test_a_bad_pool_is_refused_with_file_row_and_cure(tmp_path, name):
    rows, wanted = BAD_POOLS[name]
    path = write(tmp_path / "pool.json", rows)
    with pytest.raises(UserError) as error:
        read_pool(pool(path))
    assert all(text in str(error.value) for text in [str(path), *wanted]), str(error.value)


def test_a_line_that_is_not_json_is_named_by_number(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps(ALPACA[0]) + "\n{broken\n")
    with pytest.raises(UserError, match=r"line 2: not JSON"):
        read_pool(pool(path))


def test_a_missing_file_and_an_unknown_suffix_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_pool(pool(tmp_path / "absent.json"))
    (tmp_path / "pool.xml").write_text("<a/>")
    with pytest.raises(UserError, match=r"\.json, \.jsonl, \.csv, \.tsv, \.parquet"):
        read_pool(pool(tmp_path / "pool.xml"))


def test_excluded_rows_keep_their_place_and_are_marked(tmp_path):
    path = write(tmp_path / "pool.json", [{**ALPACA[0], "output": ""}, ALPACA[1]])
    rows = read_pool(pool(path, bad_rows="exclude"))
    assert [(row.index, row.failure) for row in rows] == [(0, "empty_response"), (1, None)]


def test_real_alpaca_rows_are_read(shared):
    rows = read_pool(pool(shared / "alpaca" / "alpaca_en_demo.json"))
    assert len(rows) == 999
    assert sum("\n" in row.instruction and row.raw["input"] != "" for row in rows) >= 412


def test_two_ids_of_one_hash_are_not_taken_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr("selectit.data.row_ids.hash", lambda text: 7, raising=False)
    rows = [{**ALPACA[0], "id": n} for n in range(3)]
    assert [row.row_id for row in read_pool(pool(write(tmp_path / "pool.json", rows)))] == ["0", "1", "2"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_chosen_rows_are_written_as_they_came_in_from_any_part_of_the_file(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("selectit.data.pool.COPIED_ROWS", 3)
    rows = [{"instruction": f"Say {n}.", "output": "Well.", "rest": {"n": n}} for n in range(10)]
    config = pool(write(tmp_path / f"pool{suffix}", rows))
    path = write_rows(config, (row for row in read_pool(config) if row.index in (0, 4, 5, 9)), tmp_path)
    assert [row.raw for row in read_pool(pool(path))] == [rows[n] for n in (0, 4, 5, 9)]
