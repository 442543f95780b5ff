"""Arena-Hard in its authors' layout, judged in both orders by a server on this machine."""

import json
import re

import pytest
from judge_server import completion

from selectit.config import JudgeConfig
from selectit.errors import UserError

NUM_QUESTIONS = 4


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "data" / "arena_hard"
    (home / "model_answer").mkdir(parents=True)
    questions = [
        {"question_id": f"q{i}", "category": "arena-hard-v0.1", "cluster": "x", "turns": [{"content": f"Do {i}."}]}
        for i in range(NUM_QUESTIONS)
    ]
    answers = [
        {
            "question_id": f"q{i}", "answer_id": f"a{i}", "model_id": "gpt-4-0314", "tstamp": 1.0,
            "choices": [{"index": 0, "turns": [{"content": f"Baseline {i}.", "token_len": 3}]}],
        }
        for i in reversed(range(NUM_QUESTIONS))
    ]  # fmt: skip
    (home / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    (home / "model_answer" / "gpt-4-0314.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return tmp_path / "data"


@pytest.fixture
def judge(server, tmp_path):
    return JudgeConfig(
        model="judge-1", base_url=server.url, api_key_env=None, max_retries=0, max_concurrency=1,
        cache=str(tmp_path / "paid"),
    )  # fmt: skip


def verdicts(by_question):
    """A server's behaviour: verdicts of each question, baseline first and model first."""

    def behave(server, number, body):
        text = body["messages"][-1]["content"]
        question = int(re.search(r"Do (\d)\.", text)[1])
        is_model_first = text.index("Mine") < text.index("Baseline")
        return {"body": completion(f"I have read both. My verdict: [[{by_question[question][is_model_first]}]]")}

    return behave


def test_strong_verdicts_count_three_games_and_both_orders_are_played(oracle, evaluate, folder, server, judge):
    oracle.answer = lambda doc: f"Mine, to {doc['instruction']}"
    played = [("B>>A", "A>>B"), ("B>A", "A=B"), ("A>B", "B>>A"), ("A=B", "B>A")]
    server.behave = verdicts(played)
    metrics, out = evaluate("arena_hard", profile="chat", data=str(folder), judge=judge)
    # games won: 3 + 3 of 6; 1 + 0.5 of 2; 0 + 0 of 1 + 3; 0.5 + 0 of 2
    assert metrics["value"] == pytest.approx(8 / 14) and server.num_requests == 2 * NUM_QUESTIONS
    result = json.loads((out / "result.json").read_text())
    rate, low, high = (result["metrics"][name]["value"] for name in ("win_rate", "win_rate_low", "win_rate_high"))
    assert low < rate < high and result["judge"]["verdict"] == "game"
    lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [tuple(line["verdicts"]) for line in lines] == played and lines[0]["source_id"] == "q0"
    assert server.bodies[0]["messages"][0]["role"] == "system" and server.bodies[0]["max_tokens"] == 4096


def test_verdicts_are_paid_once_and_equal_answers_are_ties(oracle, evaluate, folder, server, judge):
    metrics, _ = evaluate("arena_hard", profile="chat", data=str(folder), judge=judge)
    assert metrics["value"] == 0.5 and server.num_requests == 0  # the oracle answers as the baseline
    oracle.answer = lambda doc: "Mine."
    server.behave = verdicts([("B>A", "A>B")] * NUM_QUESTIONS)
    metrics, _ = evaluate("arena_hard", profile="chat", data=str(folder), judge=judge)
    again, _ = evaluate("arena_hard", profile="chat", data=str(folder), judge=judge)
    assert metrics["value"] == again["value"] == 1.0 and server.num_requests == 2 * NUM_QUESTIONS


def test_a_judge_without_a_verdict_gives_no_rate(oracle, evaluate, folder, server, judge):
    oracle.answer = lambda doc: "Mine."
    server.behave = lambda *_: {"body": completion("[[A>B]], or rather [[B>A]]")}
    metrics, out = evaluate("arena_hard", profile="chat", data=str(folder), judge=judge)
    result = json.loads((out / "result.json").read_text())
    assert "value" not in metrics and result["status"] == "not_scored" and "win_rate" not in result["metrics"]
    assert re.search(r"not judged: 8 of 8 judgements .*8 unreadable.*no verdict.*max_missing", result["reason"])
    assert [json.loads(line)["verdicts"] for line in (out / "items.jsonl").read_text().splitlines()] == [[None] * 2] * 4


def test_a_game_without_a_verdict_is_left_out_counted_and_marked(oracle, evaluate, folder, server, judge):
    oracle.answer = lambda doc: f"Mine, to {doc['instruction']}"
    played = [("B>>A", "A>>B"), ("B>A", "none"), ("A>B", "B>>A"), ("A=B", "B>A")]
    server.behave = verdicts(played)
    patient = judge.model_copy(update={"max_missing": 0.125})
    metrics, out = evaluate("arena_hard", profile="chat", data=str(folder), judge=patient)
    # games won: 3 + 3 of 6; 1 of 1; 0 of 1 + 3; 0.5 + 0 of 2
    assert metrics["value"] == pytest.approx(7.5 / 13)
    result = json.loads((out / "result.json").read_text())
    assert not result["complete"] and result["judge_usage"]["num_unreadable"] == 1
    assert any(note.startswith("1 of 8 judgements of judge-1 are missing") for note in result["notes"])
    assert json.loads((out / "items.jsonl").read_text().splitlines()[1])["verdicts"] == ["B>A", None]


@pytest.mark.parametrize(
    ("judge_setting", "reason"), [(None, "no judge is configured"), ("hf:{model}", "behind an end")]
)
def test_without_such_a_judge_answers_are_written_and_the_missing_result_has_its_reason(
    oracle, evaluate, folder, demo_model, judge_setting, reason
):
    reported = judge_setting and judge_setting.format(model=demo_model.path)
    metrics, out = evaluate("arena_hard", profile="chat", data=str(folder), judge=reported)
    assert "value" not in metrics and reason in json.loads((out / "result.json").read_text())["reason"]
    first = json.loads((out / "model_answer.jsonl").read_text().splitlines()[0])
    assert first["question_id"] == "q0" and first["choices"][0]["turns"][0]["content"] == "Baseline 0."


def test_a_question_that_the_baseline_did_not_answer_is_named(oracle, evaluate, folder):
    path = folder / "arena_hard" / "model_answer" / "gpt-4-0314.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match=r"no answer to 1 of 4 questions, such as q0"):
        evaluate("arena_hard", profile="chat", data=str(folder))
