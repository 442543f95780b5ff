"""AlpacaEval with a judge behind an endpoint: the stage, its resume, and the cell of the table."""

import io
import json
import re

import pytest
import yaml
from judge_server import completion
from rich.console import Console

from selectit.artifact import Store
from selectit.config import EvaluateStage, JudgeConfig, WandbConfig
from selectit.engine import found, run_plan
from selectit.errors import UserError
from selectit.evaluate import stage
from selectit.evaluate.profile import load_profile
from selectit.execution import Session
from selectit.plan import build
from selectit.recipe import load
from selectit.report import write_report


@pytest.fixture
def judge(server, tmp_path):
    return {
        "model": "judge-1", "base_url": server.url, "api_key_env": None, "max_retries": 0, "max_concurrency": 1,
        "cache": str(tmp_path / "paid"), "usd_per_million_input_tokens": 10, "usd_per_million_output_tokens": 30,
    }  # fmt: skip


def dies_after(number_of_answers):
    return lambda server, number, body: {"status": 500, "body": {}} if number > number_of_answers else None


def test_the_result_names_the_judge_what_it_took_and_where_its_answers_came_from(oracle, evaluate, server, judge):
    oracle.answer = lambda doc: doc["output"] + " And more."
    metrics, out = evaluate("alpaca_eval", judge=JudgeConfig(**judge))
    assert metrics["value"] == pytest.approx(0.9) and metrics["num_items"] == 8
    result = json.loads((out / "result.json").read_text())
    assert result["judge"]["name"] == "judge-1" and result["judge"]["answered_by"] == "judge-1-0613"
    assert result["judge"]["verdict"] == "logprobs" and result["judge"]["endpoint"] == server.url
    assert len(result["judge"]["prompt_sha256"]) == len(result["judge"]["reference_sha256"]) == 64
    usage = result["judge_usage"]
    assert (usage["num_asked"], usage["num_cached"], usage["num_refused"], usage["num_unreadable"]) == (8, 0, 0, 0)
    assert usage["usd"] == pytest.approx((800 * 10 + 8 * 30) / 1e6)
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    logged = {key: value for line in lines for key, value in line.items()}
    assert logged["value"] == metrics["value"] and logged["seconds"] >= 0 and logged["judge/num_asked"] == 8
    assert logged["samples"] == "items.jsonl"


def test_after_a_judge_that_died_nothing_is_generated_again_and_only_missing_answers_are_asked(
    oracle, evaluate, server, judge
):
    oracle.answer = lambda doc: doc["output"] + " And more."
    server.behave = dies_after(3)
    with pytest.raises(UserError, match=r"5 of 8 comparisons have no answer"):
        evaluate("alpaca_eval", judge=JudgeConfig(**judge))
    num_prompts, num_requests = len(oracle.prompts), server.num_requests
    server.behave = dies_after(10**6)
    metrics, out = evaluate("alpaca_eval", judge=JudgeConfig(**judge))
    assert len(oracle.prompts) == num_prompts and server.num_requests == num_requests + 5
    assert metrics["value"] == pytest.approx(0.9)
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "scored" and not result["reason"] and result["judge_usage"]["num_cached"] == 3
    assert len((out / "items.jsonl").read_text().splitlines()) == 8


def test_alpaca_eval_2_compares_with_its_own_references(oracle, evaluate, server, judge, demo_data, tmp_path):
    rows = json.loads((demo_data / "alpaca_eval" / "text_davinci_003.json").read_text())
    folder = tmp_path / "data" / "alpaca_eval_2"
    folder.mkdir(parents=True)
    references = [{**row, "output": "Short.", "generator": "gpt4_1106_preview"} for row in rows]
    (folder / "gpt4_1106_preview.json").write_text(json.dumps(references))
    profile = tmp_path / "mine.yaml"
    profile.write_text("benchmarks:\n  alpaca_eval_2: {chat_template: true, until: [], metric: win_rate}\n")
    oracle.answer = lambda doc: doc["output"] if "a" in doc["instruction"] else "A long answer."
    metrics, _ = evaluate(
        "alpaca_eval_2", profile=str(profile), data=str(tmp_path / "data"), judge=JudgeConfig(**judge)
    )
    num_equal = sum("a" in row["instruction"] for row in rows)
    assert metrics["value"] == pytest.approx((0.5 * num_equal + 0.9 * (8 - num_equal)) / 8)
    assert server.num_requests == 8 - num_equal


def test_preflight_asks_the_judge_once_before_anything_is_generated(demo_model, demo_data, server, judge):
    def preflight(**changes):
        config = EvaluateStage(
            model=demo_model, benchmark=load_profile("miniature").benchmarks["alpaca_eval"], data=str(demo_data),
            template="alpaca", judge=JudgeConfig(**{**judge, **changes}),
        )  # fmt: skip
        stage.preflight(config)

    preflight()
    assert server.num_requests == 1
    server.behave = lambda *_: {"status": 404, "body": {"error": {"message": "no such model"}}}
    with pytest.raises(UserError, match=r"judge-2 at .* does not judge: HTTP 404.*no such model"):
        preflight(model="judge-2")


def test_a_cell_whose_judge_died_is_a_labelled_hole_that_the_next_run_fills(root, server, judge, tmp_path):
    path = tmp_path / "judged.yaml"
    raw = {
        "name": "judged", "pool": {"path": str(root / "demo" / "pool.json")},
        "model": {"path": str(root / "demo" / "model"), "dtype": "float32"},
        "evaluate": {
            "profile": "miniature", "data": str(root / "demo" / "benchmarks"), "benchmarks": ["alpaca_eval"],
            "limit": 4, "judge": judge,
        },
        "arms": {"base": {"finetune": {"method": "none"}}}, "baseline": "base",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(raw))
    plan, store = build(load(path)), Store(tmp_path / "runs")
    session = Session(store, Console(file=io.StringIO()), WandbConfig(enabled=False), "judged")
    server.behave = dies_after(1 + 1)  # the trial and one comparison; answers may equal their references
    outcomes = run_plan(plan, session)
    for seen in (outcomes, found(plan, store)):
        report = write_report(plan, seen, store.runs_dir)
        told = re.search(
            r"failed: .*?(\d) of 4 comparisons have no answer of the judge judge-1",
            (report.folder / "report.md").read_text(),
        )
        assert told
    asked = server.num_requests
    server.behave = lambda server, number, body: {"body": completion("m", [("m", 1.0)])}
    [outcome] = run_plan(plan, session).values()
    assert outcome.artifact is not None and server.num_requests == asked + int(told[1])
    report = write_report(plan, {plan.stages[0]: outcome}, store.runs_dir)
    told = (report.folder / "report.md").read_text()
    assert f"judge-1 at {server.url}, which answered as judge-1-0613, verdict by logprobs" in told
    assert "its answers cost 0.00 USD" in told
    manifest = json.dumps(outcome.artifact.manifest)
    assert "api_key_env" in manifest and "EMPTY" not in manifest
    before = server.num_requests
    run_plan(plan, session)
    assert server.num_requests == before
