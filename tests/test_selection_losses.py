"""Perplexity and IFD selections, worked out by hand from small ledgers of losses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from selectit.config import PoolConfig, SelectStage
from selectit.errors import UserError
from selectit.scoring.loss_ledger import SCHEMA
from selectit.selection.stage import preflight, run
from selectit.selection.strategies.ifd import IFDSelect, ifd
from selectit.selection.strategies.perplexity import PerplexitySelect, middle_first
from selectit.tracking import Tracker


def write_pool(folder: Path, num_rows: int) -> PoolConfig:
    rows = [{"id": str(n), "instruction": f"Say {n}.", "output": str(n)} for n in range(num_rows)]
    (folder / "pool.json").write_text(json.dumps(rows))
    return PoolConfig(path=str(folder / "pool.json"))


def write_ledger(folder: Path, response: list[float | None], full: list[float] | None = None) -> Path:
    """None: a row without a loss. The ledger is in another order than the pool."""
    folder.mkdir()
    records = [
        {
            "row_id": str(n),
            "text": "conditioned",
            "response_loss": loss,
            "num_response_tokens": 0 if loss is None else 3,
            "full_loss": None if loss is None else (full or response)[n],
            "num_tokens": 9,
            "truncated": False,
            "failure": "no_response_token" if loss is None else None,
        }
        for n, loss in enumerate(response)
    ]
    parquet.write_table(pa.Table.from_pylist(records[::-1], SCHEMA), folder / "ledger.parquet")
    return folder


def select(folder: Path, strategy, **ledgers: Path) -> list[dict]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    pool = PoolConfig(path=str(folder / "pool.json"))
    run(SelectStage(pool=pool, select=strategy), ledgers, out, Tracker(out, Console(quiet=True)))
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def best(lines: list[dict]) -> list[int]:
    """Selected rows, best first."""
    return [line["row"] for line in sorted(lines, key=lambda line: line["rank"]) if line["selected"]]


LOSSES = [0.5, 2.0, 1.0, 3.0, 2.5, 1.5, 0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(("order", "rows"), [("top", [3, 4, 1]), ("mid", [5, 2, 0]), ("low", [6, 7, 8])])
def test_perplexity_takes_the_highest_the_middle_or_the_lowest(tmp_path, order, rows):
    write_pool(tmp_path, 10)
    ledger = write_ledger(tmp_path / "ledger", LOSSES)
    lines = select(tmp_path, PerplexitySelect(strategy="perplexity", ratio=0.3, order=order), conditioned=ledger)
    assert best(lines) == rows
    assert [line["score"] for line in lines] == [-x if order == "low" else x for x in LOSSES]
    assert sorted(line["rank"] for line in lines) == list(range(1, 11))


def test_perplexity_over_the_prompt_too_reads_the_other_loss(tmp_path):
    write_pool(tmp_path, 4)
    ledger = write_ledger(tmp_path / "ledger", [1.0, 2.0, 3.0, 4.0], full=[4.0, 3.0, 2.0, 1.0])
    for over, row in (("response", 3), ("full", 0)):
        lines = select(tmp_path, PerplexitySelect(strategy="perplexity", ratio=0.25, over=over), conditioned=ledger)
        assert best(lines) == [row]


def test_the_middle_starts_at_a_third_of_the_rows_that_have_a_loss():
    # automated-instruction-selection: descending, from rank int(0.33 n); rows without a loss stay last
    assert middle_first(list(range(100)), 100, 10)[:10] == list(range(33, 43))
    assert middle_first([*range(9), 90, 91], 9, 2) == [2, 3, 4, 5, 6, 7, 8, 0, 1, 90, 91]


def test_a_middle_that_is_larger_than_what_follows_is_refused_before_anything_runs(tmp_path):
    assert len(middle_first(list(range(100)), 100, 67)) == 100
    with pytest.raises(UserError, match=r"more than the 67 that follow"):
        middle_first(list(range(100)), 100, 68)
    strategy = PerplexitySelect(strategy="perplexity", ratio=0.8, order="mid")
    with pytest.raises(UserError, match=r"lower select\.ratio"):
        preflight(SelectStage(pool=write_pool(tmp_path, 10), select=strategy))


def test_the_two_ifds_are_a_ratio_of_losses_and_a_ratio_of_perplexities():
    given, alone = np.array([1.0, 3.0]), np.array([2.0, 4.0])
    np.testing.assert_allclose(ifd(given, alone, "loss_ratio"), [0.5, 0.75])
    np.testing.assert_allclose(ifd(given, alone, "perplexity_ratio"), [np.exp(-1), np.exp(-1)])


GIVEN, ALONE = [1.0, 3.0, 1.9, 0.2, 2.1, 1.0], [2.0, 4.0, 2.0, 0.8, 2.0, None]
# loss ratios     0.5, 0.75, 0.95, 0.25, 1.05, -; differences  -1, -1, -0.1, -0.6, +0.1, -


@pytest.mark.parametrize(("form", "rows"), [("loss_ratio", [2, 1, 0]), ("perplexity_ratio", [2, 3, 1])])
def test_ifd_takes_the_highest_up_to_one_and_names_the_others(tmp_path, form, rows):
    write_pool(tmp_path, 6)
    ledgers = {
        "conditioned": write_ledger(tmp_path / "given", GIVEN),
        "unconditioned": write_ledger(tmp_path / "alone", ALONE),
    }
    lines = select(tmp_path, IFDSelect(strategy="ifd", ratio=0.5, form=form), **ledgers)
    assert best(lines) == rows
    assert [line["failure"] for line in lines] == [None] * 4 + ["ifd_above_one", "no_response_token"]
    assert lines[4]["score"] is None and lines[4]["ifd"] > 1  # left out, and still reported
    assert {lines[4]["rank"], lines[5]["rank"]} == {5, 6}
    reported = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert reported["failures"] == {"ifd_above_one": 1, "no_response_token": 1} and reported["num_selected"] == 3


def test_a_share_larger_than_the_rows_up_to_one_is_refused(tmp_path):
    write_pool(tmp_path, 6)
    ledgers = {
        "conditioned": write_ledger(tmp_path / "given", GIVEN),
        "unconditioned": write_ledger(tmp_path / "alone", ALONE),
    }
    with pytest.raises(UserError, match="only 4 may be taken"):
        select(tmp_path, IFDSelect(strategy="ifd", ratio=0.9), **ledgers)


def test_a_pool_without_any_loss_is_refused(tmp_path):
    write_pool(tmp_path, 2)
    ledger = write_ledger(tmp_path / "ledger", [None, None])
    with pytest.raises(UserError, match="no row of the pool has a loss"):
        select(tmp_path, PerplexitySelect(strategy="perplexity", ratio=0.5), conditioned=ledger)
