"""A parsed pool that is kept: its rows are those of the parser, and no fault of the cache is one of a command."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from selectit.config import PoolConfig, SampleConfig, SelectStage
from selectit.data import kept, pool_table
from selectit.data.kept import kept_folder, kept_pool
from selectit.data.parsing import parsed_rows
from selectit.data.pool import iter_pool, read_pool, rows_at, write_rows, write_subset
from selectit.errors import UserError
from selectit.selection.columns import read_columns
from selectit.selection.registry import shipped
from selectit.selection.stage import run
from selectit.tracking import Tracker

ROWS = [
    {"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi \u2028"},
        {"role": "assistant", "content": "Yes?", "weight": 0},
        {"role": "user", "content": f"Say {n}."},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": f"Well, {n}.", "train": True},
    ], "source": ["a", 1e400, {"b": 10**30}]}
    for n in range(5)
]  # fmt: skip
ROWS[2]["messages"] = [{"role": "bishop", "content": "?"}]
ROWS[3] = 7
ROWS[4]["source"] = "half \ud83d"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "SMALLEST_BYTES", 0)
    kept.forget()
    return tmp_path / "cache" / "selectit" / "pools"


@pytest.fixture
def pool(tmp_path):
    return written(tmp_path / "pool.jsonl", ROWS)


def written(path: Path, rows, **settings) -> PoolConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PoolConfig(path=str(path), **{"bad_rows": "exclude", **settings})


def tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def outcome(read, pool):
    try:
        return list(read(pool))
    except UserError as error:
        return str(error)


def test_rows_of_every_case_are_those_of_the_parser_and_so_are_the_errors(root):
    cases = root.parent / "shared" / "cases" / "data"
    if not cases.is_dir():
        pytest.skip("the cases are not on this machine")
    paths = [p for p in sorted(cases.glob("*/*")) if p.name != "README.md"]
    num_kept = 0
    for path in paths:
        for bad_rows in ("refuse", "exclude"):
            pool = PoolConfig(path=str(path), bad_rows=bad_rows)
            expected = outcome(parsed_rows, pool)
            assert outcome(iter_pool, pool) == expected, path
            num_kept += kept_pool(pool) is not None
    assert len(paths) > 40 and num_kept > 40


def test_rows_of_real_files_are_those_of_the_parser(shared):
    files = [*sorted((shared / "alpaca").glob("*.json"))]
    for path in files:
        pool = PoolConfig(path=str(path), bad_rows="exclude")
        assert read_pool(pool) == list(parsed_rows(pool)) and kept_pool(pool) is not None
    assert files


def test_turns_that_are_not_trained_on_calls_and_raw_rows_come_back_as_they_were(pool):
    expected = list(parsed_rows(pool))
    assert [row.failure for row in expected] == [None, None, "unknown_role", "not_an_object", "lone_surrogate"]
    for _ in range(2):
        found = read_pool(pool)
        assert found == expected and [row.raw for row in found] == [row.raw for row in expected]
        assert [list(m) for row in found for m in row.messages] == [list(m) for row in expected for m in row.messages]
    assert found[0].messages[2]["train"] is False and found[0].messages[4]["call"] is True


def test_a_pool_is_parsed_once_whatever_reads_it(pool, cache, monkeypatch, tmp_path):
    expected = list(parsed_rows(pool))
    assert read_pool(pool) == expected
    assert len(tables(cache)) == 1
    kept.forget()  # as another process has it
    monkeypatch.setattr(kept, "parsed_rows", None)
    chosen = np.array([True, False, False, False, False])
    assert read_pool(pool) == expected and list(rows_at(pool, chosen)) == expected[:1]
    columns = read_columns(pool)
    assert columns.row_ids.to_pylist() == [row.row_id for row in expected]
    assert columns.failures == [row.failure for row in expected]
    assert columns.response_chars.tolist() == [len(row.response) for row in expected]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    same = write_subset(pool, chosen, tmp_path / "a"), write_rows(pool, expected[:1], tmp_path / "b")
    assert same[0].read_bytes() == same[1].read_bytes() and same[0].name == same[1].name


def test_what_changes_a_row_is_another_table_and_bad_rows_is_not(pool, cache, tmp_path, monkeypatch):
    keys = [kept.table_key(pool.model_copy(update=change)) for change in (
        {}, {"limit": 3}, {"ids": "position"}, {"format": "messages"}, {"stratify_by": "source"},
        {"sample": SampleConfig(num_rows=2, seed=1)}, {"split": "test"}, {"name": "x"},
    )]  # fmt: skip
    assert len(set(keys)) == len(keys) and None not in keys
    assert kept.table_key(pool.model_copy(update={"bad_rows": "refuse"})) == keys[0]
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(Path(pool.path).read_bytes())
    assert kept.table_key(PoolConfig(path=str(moved))) == keys[0]
    for name in ("rows.json", "rows.csv", "rows.jsonl.gz"):  # the same bytes, read in another way
        (tmp_path / name).write_bytes(moved.read_bytes())
        assert kept.table_key(PoolConfig(path=str(tmp_path / name))) not in keys
    monkeypatch.setattr(kept, "_code", lambda: "another release")
    assert kept.table_key(pool) not in keys


def test_a_pool_that_changed_is_parsed_anew(pool, cache):
    read_pool(pool)
    written(Path(pool.path), [{"instruction": "New.", "output": "Yes."}])
    assert [row.response for row in read_pool(pool)] == ["Yes."]
    assert len(tables(cache)) == 2


def test_values_that_json_has_not_are_read_from_the_pool_itself(tmp_path, cache):
    table = pa.table({
        "instruction": [f"Say {n}." for n in range(9)], "output": ["Yes."] * 9,
        "when": pa.array([datetime.datetime(2020, 1, 1)] * 9, pa.timestamp("us")),
        "price": pa.array([decimal.Decimal("1.50")] * 9), "data": pa.array([b"\xff"] * 9),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "pool.parquet")
    for change in ({}, {"sample": SampleConfig(num_rows=5, seed=1)}, {"limit": 4}):
        pool = PoolConfig(path=str(tmp_path / "pool.parquet"), **change)
        expected = list(parsed_rows(pool))
        found = read_pool(pool)
        assert kept_pool(pool) is not None
        assert [row.raw for row in found] == [row.raw for row in expected] and found == expected
        assert found[3].raw == expected[3].raw and found[1].raw == expected[1].raw  # back and forth
    assert found[0].raw["price"] == decimal.Decimal("1.50") and len(tables(cache)) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_table_is_named_and_made_again(pool, cache, damage):
    expected = list(parsed_rows(pool))
    read_pool(pool)
    [table] = tables(cache)
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes({"flip": content, "cut": content[:-100], "empty": b""}[damage])
    with pytest.warns(UserWarning, match=f"{table.name} is damaged and is made again"):
        assert read_pool(pool) == expected
    assert tables(cache) == [table]


def test_where_nothing_can_be_kept_the_pool_is_parsed_each_time_and_one_sentence_says_so(pool, cache):
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file in the place of the folder")
    expected = list(parsed_rows(pool))
    with pytest.warns(
        UserWarning, match=r"pool\.jsonl cannot be kept in .*pools \(.+\); it is parsed each time"
    ) as told:
        assert read_pool(pool) == expected and read_pool(pool) == expected
    assert len(told) == 1


FULL = """
import resource, sys, warnings
from selectit.config import PoolConfig
from selectit.data import kept
from selectit.data.pool import read_pool
kept.SMALLEST_BYTES = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    rows = read_pool(PoolConfig(path=sys.argv[1], bad_rows="exclude"))
assert len(rows) == 5 and "cannot be kept" in str(told[0].message), told
"""
BOTH = """
import sys
from selectit.config import PoolConfig
from selectit.data import kept
from selectit.data.pool import read_pool
kept.SMALLEST_BYTES = 0
print(len(read_pool(PoolConfig(path=sys.argv[1], bad_rows="exclude"))))
"""


def start(script: str, pool: PoolConfig, cache: Path) -> subprocess.Popen:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.parents[1])}
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", "-c", script, pool.path], env=environment, stdout=subprocess.PIPE
    )


def test_a_full_disk_costs_the_table_alone_and_leaves_nothing(pool, cache):
    assert start(FULL, pool, cache).wait() == 0
    assert tables(cache) == []


def test_processes_that_read_one_pool_at_once_all_get_it(tmp_path, cache):
    pool = written(tmp_path / "large.jsonl", [{"instruction": f"Say {n}.", "output": "Yes."} for n in range(5000)])
    runs = [start(BOTH, pool, cache) for _ in range(3)]
    assert [run.communicate()[0] for run in runs] == [b"5000\n"] * 3
    assert [run.returncode for run in runs] == [0] * 3 and len(tables(cache)) == 1


def test_a_message_with_a_key_that_has_no_column_is_never_kept_without_it(pool, monkeypatch):
    monkeypatch.setattr(
        pool_table, "MESSAGE", pa.schema([field for field in pool_table.MESSAGE if field.name != "train"])
    )
    with pytest.warns(UserWarning, match="no column for 'train' of a message"):
        assert read_pool(pool) == list(parsed_rows(pool))


def test_tables_that_nothing_read_for_long_are_removed(pool, cache):
    cache.mkdir(parents=True)
    for name, days in (("old.arrow", 31), ("killed.part", 31), ("new.arrow", 29)):
        (cache / name).touch()
        os.utime(cache / name, (cache.stat().st_mtime - days * 24 * 3600,) * 2)
    read_pool(pool)
    assert {path.name for path in tables(cache)} > {"new.arrow"} and len(tables(cache)) == 2
    assert kept_folder() == cache


def test_small_pools_are_not_kept(pool, cache, monkeypatch):
    monkeypatch.setattr(kept, "SMALLEST_BYTES", 1 << 20)
    assert read_pool(pool) and not cache.exists()


@pytest.mark.parametrize("keeps_scores", [False, True])
def test_a_selection_writes_the_same_bytes_from_a_table_as_from_the_parser(tmp_path, monkeypatch, keeps_scores):
    special = [{"role": "user", "content": '"\\\n\x01é'}, {"role": "assistant", "content": "\u2028\U0001f600"}]
    rows = [*ROWS, {"messages": special}]
    pairs = [{"instruction": f"Say\n{n}.", "input": "x" * (n % 3), "output": "Yes."} for n in range(5000)]
    folders = []
    named = [{**row, "id": f'"{n}'} for n, row in enumerate(pairs)]
    for name, content in (("turns", rows), ("pairs", pairs), ("ids", named)):
        pool = written(tmp_path / f"{name}.jsonl", content)
        for smallest in (0, 1 << 40):
            monkeypatch.setattr(kept, "SMALLEST_BYTES", smallest)
            kept.forget()
            out = tmp_path / f"{name}-{smallest}"
            out.mkdir()
            fields = {"strategy": "length", "unit": "chars", "field": "full", "ratio": 0.4}
            config = SelectStage(pool=pool, select=shipped().read(fields), keeps_scores=keeps_scores)
            run(config, {}, out, Tracker(out, Console(quiet=True)))
            folders.append(out)
    for kept_one, parsed in zip(folders[::2], folders[1::2], strict=True):
        for name in ("subset.jsonl", "messages.jsonl", "scores.jsonl", "selection.json"):
            assert (kept_one / name).read_bytes() == (parsed / name).read_bytes(), (kept_one, name)
        lines = [json.loads(line) for line in (parsed / "scores.jsonl").read_text().split("\n")[:-1]]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        assert (parsed / "scores.jsonl").read_text() == text
        assert ("score" in (kept_one / "messages.jsonl").read_text().split("\n")[0].rpartition("]")[2]) == keeps_scores
