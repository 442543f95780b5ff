"""Evaluation after every epoch, a curve next to the table and never in it; scores of curricula; prompt/completion."""

from __future__ import annotations

import csv
import io
import json

import pytest
from finished_work import Work, call
from rich.console import Console

from selectit.config import PoolConfig
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.report.sections.epochs import by_epoch, validation_losses
from selectit.selection import stage as selection
from selectit.tracking import Tracker


@pytest.fixture
def work(tmp_path, demo):
    return Work(tmp_path, demo)


def plan_of(work, *overrides):
    return build(load(work.recipe, overrides))


ALL = ("evaluate.checkpoints=all", "finetune.num_train_epochs=3")


def test_each_trained_row_has_a_curve_and_the_table_is_as_before(work):
    plain, curved = plan_of(work, "finetune.num_train_epochs=3"), plan_of(work, *ALL)
    for before, row in zip(plain.rows, curved.rows, strict=True):
        assert [cell.benchmark for cell in row.cells] == [cell.benchmark for cell in before.cells]
        assert all(cell.stage.config.epoch is None for cell in row.cells)
        trained = row.config.finetune.method != "none"
        epochs = [cell.stage.config.epoch for cell in row.curve]
        assert epochs == sorted([1, 2] * len(row.cells)) if trained else not epochs
        assert {cell.stage.inputs for cell in row.curve} <= {cell.stage.inputs for cell in row.cells}
    row = next(row for row in curved.rows if row.curve)
    assert "after epoch 1" in curved.title(row.curve[0].stage)


def test_with_early_stopping_the_last_epoch_is_evaluated_too(work):
    stopping = ("finetune.validation={share: 0.2}", "finetune.early_stopping={patience: 1}")
    row = next(row for row in plan_of(work, *ALL, *stopping).rows if row.curve)
    assert sorted({cell.stage.config.epoch for cell in row.curve}) == [1, 2, 3]


def test_a_number_of_epochs_that_is_not_known_is_refused(work):
    with pytest.raises(UserError, match="the number of epochs depends on the subset"):
        plan_of(work, "evaluate.checkpoints=all", "finetune.max_steps=9")


def test_a_curriculum_is_for_strategies_that_score(work):
    with pytest.raises(UserError, match=r"order curriculum needs a strategy that scores rows .* is random"):
        plan_of(work, "finetune={order: curriculum, curriculum: ascending}")


def test_the_report_has_losses_and_benchmarks_by_epoch_and_the_same_table(work):
    work.finish("finetune.num_train_epochs=3")
    table = work.runs / work.name / "results.csv"
    before = table.read_text()
    work.finish(*ALL)
    plan = plan_of(work, *ALL)
    path = work.path("finetune-lora")
    record = json.loads((path / "training.json").read_text())
    record |= {
        "validation": [{"step": 4, "epoch": 1.0, "loss": 2.5}, {"step": 8, "epoch": 2.0, "loss": 2.25}],
        "num_validation_rows": 5, "stopped_early": False,
    }  # fmt: skip
    (path / "training.json").write_text(json.dumps(record))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["training.json"] = (path / "training.json").stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest))
    from selectit.run.engine import found
    from selectit.store.runs_folder import Store

    outcomes = found(plan, Store(work.runs))
    listing = validation_losses(plan, outcomes)
    assert listing.columns == ("arm", "stopped early, best epoch", "rows", "epoch 1", "epoch 2")
    assert any("2.5000" in row and "2.2500" in row for row in listing.rows)
    assert by_epoch(plan, outcomes)["random", "gsm8k"] == {1.0: 25.0, 2.0: 25.0, 3.0: 25.0}

    def values(text: str) -> list[tuple[str, ...]]:
        return [(row["arm"], row["benchmark"], row["value"]) for row in csv.DictReader(io.StringIO(text))]

    (work.runs / work.name / "report.json").unlink(missing_ok=True)  # that of before the file was changed by hand
    call("report", work.recipe, "--runs-dir", work.runs, *(word for key in ALL for word in ("--set", key)))
    assert values(table.read_text()) == values(before), "the curve is not in the table"
    [page] = work.runs.glob("*/report.html")
    for title in ("Validation loss", "Benchmarks after each epoch"):
        assert page.read_text().count(f">{title}</h3>") == 2, "a listing and a plot"
        assert f"## {title}" in page.with_name("report.md").read_text()


def test_a_curriculum_reads_the_scores_of_its_own_selection(work, tmp_path):
    raw = {**work.raw, "arms": {"length": {"select": {"strategy": "length", "unit": "chars"}}}, "baseline": "length"}
    work.write(raw)
    plain, ordered = plan_of(work), plan_of(work, "finetune={order: curriculum, curriculum: ascending}")
    for plan, has_scores in ((plain, False), (ordered, True)):
        stage = next(s for s in plan.stages if s.kind == "select")
        assert stage.config.keeps_scores == has_scores
        out = tmp_path / str(has_scores)
        out.mkdir()
        selection.run(stage.config, {}, out, Tracker(out, Console(quiet=True)))
        rows = [json.loads(line) for line in (out / "messages.jsonl").read_text().splitlines()]
        assert [row.get("score") for row in rows] == ([17.0, 18.0, 19.0, 20.0] if has_scores else [None] * 4)


def test_prompts_and_completions_are_read_as_a_turn_and_its_answer(tmp_path):
    (tmp_path / "pool.jsonl").write_text(json.dumps({"prompt": "1 + 1 =", "completion": " 2"}) + "\n")
    [row] = read_pool(PoolConfig(path=str(tmp_path / "pool.jsonl")))
    assert [(m["role"], m["content"]) for m in row.messages] == [("user", "1 + 1 ="), ("assistant", " 2")]
    assert (row.instruction, row.response, row.failure) == ("1 + 1 =", " 2", None)
