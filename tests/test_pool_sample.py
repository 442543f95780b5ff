"""`pool.sample`: the draw is that of an independent implementation, in every format, and stays what it is."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml
from finished_work import call
from pydantic import ValidationError
from rich.console import Console

from selectit.config import PoolConfig, SelectStage
from selectit.data.pool import iter_pool, read_pool, write_rows
from selectit.errors import UserError
from selectit.report.sections.sources import _locations
from selectit.selection import stage
from selectit.selection.strategies.random import RandomSelect
from selectit.store.fingerprint import Hasher, digest, identity
from selectit.tracking import Tracker

NUM_ROWS = 2500  # more than two batches of a Parquet file or a dataset
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"Well, {n}."} for n in range(NUM_ROWS)]
PINNED = [409, 627, 1122, 1201, 1927, 2165, 2334]
"""Positions that num_rows 7 and seed 42 draw from ROWS."""


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module", params=[".json", ".jsonl", ".parquet", "dataset"])
def pool_path(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    if request.param == "dataset":
        write(folder / "data" / "train-00000-of-00001.parquet", ROWS)
        return folder
    return write(folder / f"pool{request.param}", ROWS)


def pool(path: Path, num_rows: int = 7, seed: int = 42, **settings) -> PoolConfig:
    return PoolConfig.model_validate({"path": str(path), "sample": {"num_rows": num_rows, "seed": seed}, **settings})


def expected(rows: list[dict], num_rows: int, seed: int) -> list[int]:
    """The draw as the documentation describes it, in exact fractions: the highest numbers, in the order of the file."""

    def number(position: int) -> Fraction:
        row = rows[position]
        content = hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        name = str(row["id"]) if "id" in row else f"{position}-{content[:8]}"
        return Fraction(int(hashlib.sha256(f"pool.sample\n{seed}\n{name}".encode()).hexdigest()[:16], 16), 2**64)

    return sorted(sorted(range(len(rows)), key=number, reverse=True)[:num_rows])


@pytest.mark.parametrize(("num_rows", "seed"), [(1, 0), (7, 42), (999, 42), (NUM_ROWS, 3)])
def test_the_draw_is_that_of_an_independent_implementation(pool_path, num_rows, seed):
    whole = read_pool(PoolConfig(path=str(pool_path)))
    drawn = read_pool(pool(pool_path, num_rows, seed))
    assert [row.row_id for row in drawn] == [whole[at].row_id for at in expected(ROWS, num_rows, seed)]
    assert [row.index for row in drawn] == list(range(num_rows))
    assert [row.raw for row in drawn] == [ROWS[at] for at in expected(ROWS, num_rows, seed)]


def test_the_draw_stays_what_it_is(pool_path):
    assert [int(row.row_id.split("-")[0]) for row in read_pool(pool(pool_path))] == PINNED


def test_ids_of_the_rows_themselves_decide_whatever_their_order(tmp_path):
    rows = [{**row, "id": f"r{n}"} for n, row in enumerate(ROWS)]
    forward = read_pool(pool(write(tmp_path / "a.jsonl", rows), 50))
    backward = read_pool(pool(write(tmp_path / "b.jsonl", rows[::-1]), 50))
    assert [row.row_id for row in forward] == [f"r{n}" for n in expected(rows, 50, 42)]
    assert {row.row_id for row in forward} == {row.row_id for row in backward}


def test_draws_nest_and_seeds_draw_independently(pool_path):
    def ids(num_rows: int, seed: int) -> set[str]:
        return {row.row_id for row in iter_pool(pool(pool_path, num_rows, seed))}

    assert ids(100, 1) < ids(1000, 1)
    assert 300 < len(ids(1000, 1) & ids(1000, 2)) < 500  # hypergeometric: 400, standard deviation 12


def test_every_row_is_drawn_about_equally_often(tmp_path):
    path = write(tmp_path / "pool.jsonl", ROWS[:10])
    counts = dict.fromkeys(range(10), 0)
    for seed in range(400):
        for row in iter_pool(pool(path, 5, seed)):
            counts[int(row.row_id.split("-")[0])] += 1
    assert sum((count - 200) ** 2 / 100 for count in counts.values()) < 27.9  # chi-squared, 9 degrees, p = 0.001


def test_a_limit_takes_the_first_of_the_drawn_rows(pool_path):
    first = read_pool(pool(pool_path, limit=3))
    assert [int(row.row_id.split("-")[0]) for row in first] == PINNED[:3]


def test_a_pool_that_is_smaller_than_its_draw_is_refused(tmp_path):
    path = write(tmp_path / "pool.json", ROWS[:6])
    with pytest.raises(UserError, match=r"pool.json: pool.sample.num_rows is 7, and the pool has 6 rows; lower it"):
        read_pool(pool(path))


@pytest.mark.parametrize(
    "sample", [{"num_rows": 0, "seed": 1}, {"num_rows": 5}, {"seed": 5}, {"num_rows": 5, "sed": 1}]
)
def test_a_draw_needs_a_number_of_rows_and_a_seed(tmp_path, sample):
    with pytest.raises(ValidationError):
        PoolConfig.model_validate({"path": str(tmp_path), "sample": sample})


def test_bad_rows_are_those_that_are_drawn_and_have_their_place_in_the_file(tmp_path):
    rows = [{**row, "id": n} for n, row in enumerate(ROWS)]
    drawn = expected(rows, 7, 42)
    rows[drawn[1]]["output"] = rows[drawn[1] + 1]["output"] = ""
    path = write(tmp_path / "pool.jsonl", rows)
    with pytest.raises(UserError, match=rf"1 of 7 rows cannot be used: row {drawn[1]} \({drawn[1]}\): empty response"):
        read_pool(pool(path))
    kept = read_pool(pool(path, bad_rows="exclude"))
    assert [row.failure for row in kept] == [None, "empty_response", *[None] * 5]


def test_an_id_that_stands_twice_is_refused_before_the_draw(tmp_path):
    path = write(tmp_path / "pool.jsonl", [{**row, "id": n % 2000} for n, row in enumerate(ROWS)])
    with pytest.raises(UserError, match="row 2000: id '0' stands in row 0 already"):
        read_pool(pool(path))


def test_a_changed_file_is_drawn_from_anew(tmp_path):
    path = write(tmp_path / "pool.jsonl", ROWS)
    before = [row.row_id for row in read_pool(pool(path))]
    write(path, ROWS[:2000])
    after = [int(row.row_id.split("-")[0]) for row in read_pool(pool(path))]
    assert after == expected(ROWS[:2000], 7, 42) and before != after


def test_chosen_rows_of_a_draw_are_written_as_they_stand_in_the_file(pool_path, tmp_path):
    config = pool(pool_path, 20)
    path = write_rows(config, (row for row in iter_pool(config) if row.index in (0, 3, 19)), tmp_path)
    drawn = expected(ROWS, 20, 42)
    assert [row.raw for row in read_pool(PoolConfig(path=str(path)))] == [ROWS[drawn[at]] for at in (0, 3, 19)]


def test_a_selection_from_a_draw_takes_its_ratio_of_the_drawn_rows(pool_path, tmp_path):
    config = SelectStage(pool=pool(pool_path, 200), select=RandomSelect(strategy="random", ratio=0.1), seed=1)
    summary = stage.run(config, {}, tmp_path, Tracker(tmp_path, Console(quiet=True)))
    assert (summary["num_rows"], summary["num_selected"]) == (200, 20)
    chosen = {json.loads(line)["row_id"] for line in (tmp_path / "messages.jsonl").read_text().splitlines()}
    assert chosen <= {row.row_id for row in iter_pool(pool(pool_path, 200))}


def test_rows_that_are_not_drawn_are_read_once_from_a_parquet_file(tmp_path, monkeypatch):
    config, made = pool(write(tmp_path / "pool.parquet", ROWS)), []
    batches = parquet.ParquetFile.iter_batches

    class Counted:
        def __init__(self, batch: pa.RecordBatch) -> None:
            self.batch, self.num_rows = batch, batch.num_rows

        def take(self, positions):
            return Counted(self.batch.take(positions))

        def to_pylist(self):
            made.append(self.num_rows)
            return self.batch.to_pylist()

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", lambda *a: (Counted(batch) for batch in batches(*a)))
    first, second = read_pool(config), read_pool(config)
    assert first == second and sum(made) == NUM_ROWS + 7 + 7


def test_the_draw_is_part_of_the_fingerprint_and_the_report_names_it(pool_path):
    def of(config: PoolConfig) -> dict:
        return identity(config, Hasher())

    found = [digest(of(c)) for c in (pool(pool_path), pool(pool_path, 8), pool(pool_path, 7, 43))]
    assert len({*found, digest(of(PoolConfig(path=str(pool_path))))}) == 4
    config = pool(pool_path, 1200, limit=3)
    [(key, _, content)] = _locations({"pool": of(config)}, {"pool": config.model_dump()})
    assert key == "pool"
    assert content.endswith("; 1,200 of its rows drawn with seed 42; the first 3 of these only")


def test_a_recipe_with_a_draw_plans_and_its_faults_are_named(demo, tmp_path):
    recipe = tmp_path / "r.yaml"
    raw = {
        "name": "drawn", "model": {"path": str(demo / "model")}, "baseline": "random",
        "pool": {"path": str(demo / "pool.json"), "sample": {"num_rows": 50, "seed": 3}},
        "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks"), "benchmarks": ["gsm8k"]},
        "arms": {"random": {"select": {"strategy": "random"}}},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(raw))
    assert "1 rows, 3 stages" in call("validate", recipe)
    text = call("validate", recipe, "--set", "pool.sample.num_row=3", rc=1)
    assert "pool.sample.num_row: unknown key. Did you mean 'num_rows'?" in text
    text = call("validate", recipe, "--set", "pool.sample.num_rows=100000", rc=1)
    assert "pool.sample.num_rows is 100000, and the pool has" in text
