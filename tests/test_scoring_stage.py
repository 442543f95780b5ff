"""The score stage as a user meets it: long rows, running numbers, parts on disk, the price beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from selectit.config import ModelConfig, PoolConfig, ScoreConfig, ScoreStage
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.scoring import ledger, stage
from selectit.scoring.ledger import LedgerWriter, Record, read_ratings
from selectit.tracking import Tracker


@pytest.fixture
def config(small_pool, demo) -> ScoreStage:
    return ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")), prompts=("Rate it.\n\n",)
    )


def score(config: ScoreStage, out: Path) -> dict:
    out.mkdir(exist_ok=True)
    stage.run(config, {}, out, Tracker(out, Console(quiet=True)))
    return json.loads((out / "score.json").read_text())


def test_long_rows_are_cut_skipped_or_refused(config, tmp_path):
    limited = config.model_copy(update={"max_length": 64})
    cut = score(limited, tmp_path / "cut")
    num_long = cut["num_truncated"]
    assert 0 < num_long < 40 and cut["num_failures"] == 0

    skip = score(limited.model_copy(update={"long_rows": "skip"}), tmp_path / "skip")
    assert (skip["num_truncated"], skip["num_ratings"]) == (0, 40 - num_long)
    assert skip["failures"] == {"too_long": num_long}
    ids = [row.row_id for row in read_pool(config.pool)]
    ratings = read_ratings(tmp_path / "skip" / "ledger.parquet", ids, [0])
    assert ratings.failures.count("too_long") == num_long == np.isnan(ratings.probabilities[:, 0, 0]).sum()

    fail = limited.model_copy(update={"long_rows": "fail"})
    for attempt in (lambda: stage.preflight(fail), lambda: score(fail, tmp_path / "fail")):
        with pytest.raises(
            UserError, match=rf"{num_long} rating texts are longer than score.max_length = 64 tokens .row \S+: "
        ):
            attempt()


def test_rows_that_are_too_long_are_ranked_last_and_counted(small_pool, demo, tmp_path):
    from typer.testing import CliRunner

    from selectit.cli.app import app

    common = [str(small_pool), "--model", str(demo / "model"), "--max-length", "100", "--long-rows", "skip"]
    options = ["--set", "num_rating_prompts=2", "--runs-dir", str(tmp_path / "runs")]
    files = ["--out", str(tmp_path / "s.json"), "--scores", str(tmp_path / "s.jsonl")]
    result = CliRunner().invoke(app, ["select", *common, *options, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    long = [line for line in lines if line["failure"] == "too_long"]
    assert long and min(line["rank"] for line in long) == 40 - len(long) + 1
    assert not any(line["selected"] for line in long)


def test_long_rows_without_a_limit_is_a_fault():
    with pytest.raises(ValueError, match="long_rows 'skip' needs max_length"):
        ScoreConfig(long_rows="skip")


def test_running_numbers_stand_in_metrics_jsonl(config, tmp_path, monkeypatch):
    monkeypatch.setattr("selectit.scoring.watch.LOG_SECONDS", 0)
    score(config.model_copy(update={"batch_tokens": 600}), tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    running = [line for line in lines if "score/texts_done" in line]
    assert len(running) > 3 and running[-1]["score/texts_done"] == running[-1]["step"] == 40
    assert all(line["score/tokens_per_second_now"] > 0 for line in running[:-1])
    assert 1 <= running[-1]["score/mean_expected_rating"] <= 5 and 0 < running[-1]["score/running_mean_mass"] <= 1
    histograms = [line["score/expected_rating"] for line in lines if "score/expected_rating" in line]
    assert sum(histograms[-1]["counts"]) == 40 and sum(histograms[0]["counts"]) < 40
    assert lines[-1]["score/num_ratings"] == 40


def records(first: int, count: int) -> list[Record]:
    return [Record(f"r{n}", 0, [0.1] * 5, 0.5, 3, False, digest=bytes(16)) for n in range(first, first + count)]


def test_parts_are_merged_and_a_killed_merge_leaves_every_record_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "FLUSH_SECONDS", -1)
    writer = LedgerWriter(tmp_path)
    for n in range(3 * ledger.MERGED_PARTS + 2):
        writer.add(records(n, 1))
    parts = sorted((tmp_path / "ledger").iterdir())
    assert len(parts) == 5
    # killed between the merged part and the deletion of what it holds, and while a part was written
    (tmp_path / "ledger" / "part-0000003-0000003.parquet").write_bytes(parts[-1].read_bytes())
    (tmp_path / "ledger" / "part-0000200-0000200.parquet.part").write_bytes(b"torn")
    again = LedgerWriter(tmp_path)
    row_ids = pa.array([f"r{n}" for n in range(99, -1, -1)])
    assert again.done(row_ids, [0, 1]).tolist() == [[False] * 2 + [True] * 98, [False] * 100]
    again.add(records(98, 2))
    table = parquet.read_table(again.finish(row_ids))
    assert table["row_id"].to_pylist() == row_ids.to_pylist()
    assert LedgerWriter(tmp_path).done(row_ids, [0]).all(), "killed now, the stage has nothing to do again"
    ledger.drop_parts(tmp_path)
    assert not (tmp_path / "ledger").exists()
