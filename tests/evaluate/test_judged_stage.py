"""AlpacaEval with a judge behind an endpoint: the stage, its resume, and the cell of the table."""

import io
import json
import re

import pytest
import yaml
from judge_server import completion
from rich.console import Console

from selectit.config import JudgeConfig, WandbConfig
from selectit.errors import UserError
from selectit.evaluate import stage
from selectit.evaluate.grading.alpaca_eval import ANSWERS_FILE
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.report import write_report
from selectit.run.engine import found, run_plan
from selectit.run.stage_runner import Session
from selectit.store.runs_folder import Store


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
    assert (
        logged["alpaca_eval/win_rate"] == metrics["value"] and logged["seconds"] >= 0 and logged["judge/num_asked"] == 8
    )
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
    assert [type(task["num_items"]) for task in result["tasks"].values()] == [int], "as without the death"


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


def test_a_cell_whose_judge_died_is_a_missing_result_that_the_next_run_fills(root, server, judge, tmp_path):
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
        reported = re.search(
            r"failed: .*?(\d) of 4 comparisons have no answer of the judge judge-1",
            (report.folder / "report.md").read_text(),
        )
        assert reported
    asked = server.num_requests
    server.behave = lambda server, number, body: {"body": completion("m", [("m", 1.0)])}
    [outcome] = run_plan(plan, session).values()
    assert outcome.artifact is not None and server.num_requests == asked + int(reported[1])
    report = write_report(plan, {plan.stages[0]: outcome}, store.runs_dir)
    reported = (report.folder / "report.md").read_text()
    assert f"judge-1 at {server.url}, which answered as judge-1-0613, verdict by logprobs" in reported
    assert "its answers cost 0.00 USD" in reported
    manifest = json.dumps(outcome.artifact.manifest)
    assert "api_key_env" in manifest and "EMPTY" not in manifest
    before = server.num_requests
    run_plan(plan, session)
    assert server.num_requests == before


def refuses(numbers):
    """Judges all but the comparisons with these numbers, in the order in which they are first asked."""
    seen = []

    def behave(server, number, body):
        text = body["messages"][-1]["content"]
        if text not in seen:
            seen.append(text)
        if seen.index(text) in numbers:
            return {"status": 400, "body": {"error": {"message": "filtered"}}}
        return None

    return behave


def test_judgements_up_to_the_share_are_left_out_counted_and_marked(oracle, evaluate, server, judge):
    oracle.answer = lambda doc: doc["output"] + " And more."
    server.behave = refuses({2})
    metrics, out = evaluate("alpaca_eval", judge=JudgeConfig(**judge, max_missing=0.125))
    result = json.loads((out / "result.json").read_text())
    assert metrics["value"] == pytest.approx(0.9) and result["status"] == "scored" and not result["complete"]
    assert result["metrics"]["win_rate"]["num_items"] == 7 and result["num_items"] == 8
    assert (result["judge_usage"]["num_refused"], result["judge"]["max_missing"]) == (1, "0.125")
    [note] = [note for note in result["notes"] if "judgements" in note]
    assert note.startswith("1 of 8 judgements of judge-1 are missing (1 refused, 0 unreadable: HTTP 400")
    scores = [json.loads(line)["score"] for line in (out / "items.jsonl").read_text().splitlines()]
    assert scores.count(None) == 1 and sum(score or 0 for score in scores) == pytest.approx(0.9 * 7)


def test_beyond_the_share_there_is_no_rate_and_the_reason_states_what_to_do(oracle, evaluate, server, judge):
    oracle.answer = lambda doc: doc["output"] + " And more."
    server.behave = refuses({2})
    metrics, out = evaluate("alpaca_eval", judge=JudgeConfig(**judge))
    result = json.loads((out / "result.json").read_text())
    assert "value" not in metrics and result["status"] == "not_scored" and result["value"] is None
    assert set(result["metrics"]) == {"output_chars"} and result["judge_usage"]["num_refused"] == 1
    assert re.search(
        r"1 of 8 judgements .*1 refused.*max_missing allows 2\.00%.*--regrade FOLDER.*max_tokens", result["reason"]
    )
    assert len(json.loads((out / "model_outputs.json").read_text())) == 8


def test_the_report_states_how_many_judgements_a_rate_lacks(root, server, judge, tmp_path):
    path = tmp_path / "judged.yaml"
    raw = {
        "name": "judged", "pool": {"path": str(root / "demo" / "pool.json")},
        "model": {"path": str(root / "demo" / "model"), "dtype": "float32"},
        "evaluate": {
            "profile": "miniature", "data": str(root / "demo" / "benchmarks"), "benchmarks": ["alpaca_eval"],
            "judge": {**judge, "max_missing": 0.5},
        },
        "arms": {"base": {"finetune": {"method": "none"}}}, "baseline": "base",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(raw))
    plan, store = build(load(path)), Store(tmp_path / "runs")
    server.behave = refuses({3})
    outcomes = run_plan(plan, Session(store, Console(file=io.StringIO()), WandbConfig(enabled=False), "judged"))
    reported = (write_report(plan, outcomes, store.runs_dir).folder / "report.md").read_text()
    assert "1 of 8 judgements were refused or unreadable (max_missing 0.5)" in reported
    assert "1 of 8 judgements of judge-1 are missing" in reported, "the note of the result"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe{}",
        b"[" * 100_000,
        "result",
        "items",
        "references",
        {"items": []},
        {"items": [None]},
        {"items": [{}]},
        {"references": None},
        {"result": []},
        {"of_result": {"notes": "x"}},
        {"of_result": {"tasks": [1]}},
        {"of_result": {"num_items": 7}},
        {"of_result": {"metrics": {"x": None}}},
        {"item": {"endings": None}},
        {"item": {"outcomes": ["x"]}},
        {"item": {"item_id": "3"}},
        {"result": {"benchmark": "x"}},
        {"item": {"outputs": []}},
        {"item": {"outputs": [None]}},
        {"item": {"doc": None}},
        {"item": {"doc": {"instruction": "x"}}},
    ],
    ids=repr,
)
def test_answers_that_were_kept_and_are_damaged_are_generated_again(oracle, evaluate, server, judge, tmp_path, damaged):
    oracle.answer = lambda doc: doc["output"] + " And more."
    server.behave = dies_after(0)
    with pytest.raises(UserError, match="no answer of the judge"):
        evaluate("alpaca_eval", judge=JudgeConfig(**judge))
    num_prompts = len(oracle.prompts)
    [out] = [path.parent for path in tmp_path.rglob(ANSWERS_FILE)]
    kept = json.loads((out / ANSWERS_FILE).read_text())
    if isinstance(damaged, str):
        del kept[damaged]
    elif isinstance(damaged, dict) and "item" in damaged:
        kept["items"][3] |= damaged["item"]
    elif isinstance(damaged, dict) and "of_result" in damaged:
        kept["result"] |= damaged["of_result"]
    elif isinstance(damaged, dict):
        kept |= damaged
    (out / ANSWERS_FILE).write_bytes(damaged if isinstance(damaged, bytes) else json.dumps(kept).encode())
    server.behave = lambda *_: None
    metrics, _ = evaluate("alpaca_eval", judge=JudgeConfig(**judge))
    assert metrics["value"] == pytest.approx(0.9) and len(oracle.prompts) == 2 * num_prompts
