from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.cli.single_stage import run_alone
from selectit.config import ModelConfig, PoolConfig, ScoreStage
from selectit.data.pool import read_pool
from selectit.plan.stages import needed_prompts, score_stages
from selectit.recipe.load import resolve_arm
from selectit.scoring.agreement import rank_correlation, subset_overlap
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.prompts import read_rating_prompts
from selectit.scoring.verify import verify
from selectit.tracking import Tracker


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["score", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_verify_finds_no_difference_in_float32_and_reports_half_precision(small_pool, demo, tmp_path):
    common = [str(small_pool), "--model", str(demo / "model"), "--num-rating-prompts", "2", "--verify", "15"]
    output = run(*common, "--out", str(tmp_path / "single"))
    found = json.loads((tmp_path / "single" / "verification.json").read_text())
    assert (found["num_rows"], found["num_rows_of_pool"], found["rater"]) == (15, 40, "packed")
    assert found["max_token_score_difference"] < 1e-5 and found["max_probability_difference"] < 1e-5
    assert found["rank_correlation"] == found["subset_overlap"] == 1
    assert found["agrees"] and len(found["most_different"]) == 5 and "agrees: within 0.001" in output
    assert "15 of 40 rows against one at a time in float32" in " ".join(output.split())

    run(*common, "--dtype", "bfloat16", "--out", str(tmp_path / "half"))
    again = ["score", *common, "--dtype", "bfloat16", "--out", str(tmp_path / "half"), "--tolerance"]
    result = CliRunner().invoke(app, [*again, "1e-9"])
    half = json.loads((tmp_path / "half" / "verification.json").read_text())
    assert result.exit_code == 1 and "does not agree: a difference is beyond 1e-09" in result.output
    assert all(f"  {row['row_id']}: " in result.output for row in half["most_different"])
    result = CliRunner().invoke(app, [*again, "5"])
    assert result.exit_code == 0 and "agrees: within 5" in result.output
    half = json.loads((tmp_path / "half" / "verification.json").read_text())
    assert (half["dtype"], half["rater"]) == ("bfloat16", "padded")
    assert half["max_sentence_score_difference"] > 1e-5
    assert 0.5 < half["rank_correlation"] <= 1 and 0 < half["subset_overlap"] <= 1


def test_verify_of_a_finished_ledger_rates_nothing_again_and_finds_what_was_changed(small_pool, demo, tmp_path):
    out = tmp_path / "out"
    common = [str(small_pool), "--model", str(demo / "model"), "--num-rating-prompts", "2", "--out", str(out)]
    run(*common)
    ledger = out / "ledger.parquet"
    table = parquet.read_table(ledger)
    before = (out / "manifest.json").read_text()
    run(*common, "--verify", "40")
    assert (out / "manifest.json").read_text() == before
    assert json.loads((out / "verification.json").read_text())["rank_correlation"] == 1

    shifted = [table["probabilities"][(i + 1) % len(table)].as_py() for i in range(len(table))]
    column = pa.array(shifted, table.schema.field("probabilities").type)
    parquet.write_table(
        table.set_column(table.schema.get_field_index("probabilities"), "probabilities", column), ledger
    )
    config = ScoreStage(
        pool=PoolConfig(path=str(small_pool)), model=ModelConfig(path=str(demo / "model")),
        prompts=read_rating_prompts("default", "corrected")[:2],
    )  # fmt: skip
    wrong = verify(config, out, 40, "corrected", Tracker(out, Console(quiet=True)))
    assert not wrong["agrees"] and wrong["tolerance"] == 1e-3
    expected = [row.row_id for row in most_different_rows(config, table, shifted)]
    assert [row["row_id"] for row in wrong["most_different"]] == expected
    assert wrong["rank_correlation"] < 0.9 and wrong["max_token_score_difference"] > 1e-3


def most_different_rows(config, table, shifted):
    """By a sort of our own, of the sentence-level scores before and after the change."""
    rows = read_pool(config.pool)
    scores = []
    for probabilities in (table["probabilities"].to_pylist(), shifted):
        token = token_scores(np.array(probabilities).reshape(2, len(rows), 5), "corrected")
        scores.append(sentence_scores(token.T, 0.2))
    return [rows[at] for at in sorted(range(len(rows)), key=lambda at: -abs(scores[0][at] - scores[1][at]))[:5]]


def test_a_stage_that_verifies_itself_may_be_verified_again(small_pool, demo, tmp_path):
    raw = {
        "pool": {"path": str(small_pool)}, "score": {"verify": 10}, "select": {"strategy": "selectit"},
        "model": {"path": str(demo / "model"), "dtype": "bfloat16"},
    }  # fmt: skip
    arm = resolve_arm(raw)
    [stage] = score_stages(arm, needed_prompts([arm], [0]))
    folder = run_alone(stage, tmp_path / "runs", False, quiet=False, verbose=False)
    found = json.loads((folder / "verification.json").read_text())
    assert (found["num_rows"], found["dtype"]) == (10, "bfloat16") and not (folder / "ledger").exists()
    verify(stage.config, folder, 40, "corrected", Tracker(folder, Console(quiet=True)))
    assert run_alone(stage, tmp_path / "runs", False, quiet=False, verbose=False) == folder
    assert json.loads((folder / "verification.json").read_text())["num_rows"] == 40


def test_rank_correlation_and_overlap_are_what_their_names_state():
    a = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert rank_correlation(a, a**3) == 1
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == pytest.approx(0.8660254)
    assert rank_correlation(a, np.ones(5)) == 0
    assert subset_overlap(a, a, 0.4) == 1 and subset_overlap(a, -a, 0.4) == 0
    assert subset_overlap(np.ones(5), a, 0.4) == 1  # ties: the later rows
