"""A judge behind an endpoint, against a real server on this machine: what is asked, paid, kept, refused."""

import functools
import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from judge_server import KEY, completion, shown

from selectit.config import JudgeConfig
from selectit.errors import UserError
from selectit.evaluate.judge.base import AnswerPair
from selectit.evaluate.judge.endpoint import MOST_ASKED, is_switched_for
from selectit.evaluate.judge.load import check_judge

ROOT = Path(__file__).parents[2]
COMPARISONS = [AnswerPair(f"Say {i}.", reference="a" * 10, output="b" * (5 + i)) for i in range(12)]
"""The first five outputs are shorter than their reference, one is as long, six are longer."""
EXPECTED = [0.1 if 5 + i < 10 else 0.9 if 5 + i > 10 else None for i in range(12)]


@pytest.fixture
def judge(judge):
    return functools.partial(judge, max_retries=2, timeout_seconds=5)


def compare(judge, comparisons=COMPARISONS):
    return judge.compare(comparisons, lambda number: None)


def is_about(body, instruction):
    return f"Instruction:\n{instruction}\n" in body["messages"][-1]["content"]


def test_the_better_output_is_preferred_whichever_stands_first(serve, judge):
    server = serve()
    found = compare(judge(server))
    expected = [e for e in EXPECTED if e is not None]
    assert [f for f, e in zip(found, EXPECTED, strict=True) if e is not None] == pytest.approx(expected)
    first = {shown(body)[0][0] for body in server.bodies}
    assert first == {"a", "b"}, "the order is drawn, so both the reference and the output stand first somewhere"
    for body in server.bodies:
        instruction = next(c.instruction for c in COMPARISONS if is_about(body, c.instruction))
        assert shown(body)[0].startswith("b") == is_switched_for(instruction)
        assert (body["temperature"], body["max_tokens"], body["top_logprobs"]) == (0, 1, 5)


def test_the_order_is_alpaca_evals_draw():
    """The draw as alpaca_eval 0.6.6 makes it with seed 0."""
    for instruction in [f"Question {i} é" for i in range(20)]:
        drawn = random.Random("is_switched_outputs" + instruction + str(0)).choices([False, True], k=1)[0]
        assert is_switched_for(instruction) == drawn


def test_equal_outputs_are_a_draw_and_cost_nothing(serve, judge):
    server = serve()
    assert compare(judge(server), [AnswerPair("x", "same", "same")]) == [0.5]
    assert server.num_requests == 0


def test_nothing_is_paid_twice_across_judges_of_one_endpoint_and_any_change_of_the_question_is_asked(serve, judge):
    server = serve()
    first = judge(server)
    preferred = compare(first)
    assert server.num_requests == 12 and first.usage()["num_cached"] == 0
    again = judge(server, max_concurrency=1, timeout_seconds=9, usd_per_million_input_tokens=10)
    assert compare(again) == preferred and server.num_requests == 12
    assert again.usage()["num_cached"] == 12 and again.usage()["num_asked"] == 0
    compare(judge(server), [COMPARISONS[0], AnswerPair("Say 0.", "a" * 10, "other")])
    assert server.num_requests == 13
    for changes in ({"model": "judge-2"}, {"verdict": "text"}):
        before = server.num_requests
        compare(judge(server, **changes), COMPARISONS[:2])
        assert server.num_requests == before + 2, changes


def test_one_question_that_stands_twice_is_asked_once(serve, judge):
    server = serve()
    assert compare(judge(server), [COMPARISONS[0]] * 3) == pytest.approx([0.1] * 3)
    assert server.num_requests == 1


def test_tokens_and_cost_are_reported_for_all_answers_that_count(serve, judge):
    priced = judge(serve(), usd_per_million_input_tokens=10, usd_per_million_output_tokens=30)
    compare(priced)
    usage = priced.usage()
    assert (usage["input_tokens"], usage["output_tokens"], usage["num_asked"]) == (1200, 12, 12)
    assert usage["usd"] == pytest.approx((1200 * 10 + 12 * 30) / 1e6)
    assert priced.describe()["answered_by"] == "judge-1-0613"
    compare(priced)
    assert priced.usage()["usd"] == usage["usd"]


def test_an_answer_without_a_verdict_is_asked_again_then_left_out_and_never_cached(serve, judge):
    def behave(server, number, body):
        return {"body": completion("Hm.", [("Hm", 0.9)])} if is_about(body, "Say 3.") else None

    server = serve(behave)
    first = judge(server)
    found = compare(first)
    assert [i for i, probability in enumerate(found) if probability is None] == [3]
    left_out = first.left_out()
    assert (left_out.num_refused, left_out.num_unreadable, left_out.num_judgements) == (0, 1, 12)
    assert left_out.is_too_many and "'Hm.', asked 3 times (1)" in left_out.reason()
    assert (first.usage()["num_unreadable"], first.usage()["num_refused"]) == (1, 0)
    assert server.num_requests == 11 + MOST_ASKED
    server.behave = lambda *_: None
    healed = judge(server)
    assert None not in compare(healed) and healed.left_out() is None
    assert server.num_requests == 11 + MOST_ASKED + 1 and healed.usage()["num_cached"] == 11


def test_one_bad_answer_in_between_is_asked_again_and_counts(serve, judge):
    bad = [{"body": "{not json"}, {"body": {"object": "chat.completion", "choices": []}}]
    server = serve(lambda server, number, body: bad[number - 1] if number <= 2 else None)
    assert compare(judge(server), COMPARISONS[:1]) == pytest.approx([0.1])
    assert server.num_requests == 3


def test_a_busy_server_is_asked_again_after_the_time_it_names(serve, judge):
    def behave(server, number, body):
        return {"status": 429, "headers": {"Retry-After": "0.05"}, "body": {}} if number <= 4 else None

    server = serve(behave)
    compare(judge(server), COMPARISONS[:4])
    assert server.num_requests == 8


def test_a_server_that_dies_in_the_middle_leaves_a_refusal_and_the_next_run_asks_only_for_the_rest(serve, judge):
    def behave(server, number, body):
        return {"status": 500, "body": {"error": "out of memory"}} if number > 7 else None

    server = serve(behave)
    with pytest.raises(UserError, match=r"5 of 12 comparisons have no answer.*HTTP 500"):
        compare(judge(server, max_retries=0, max_concurrency=1))
    server.behave, before = (lambda *_: None), server.num_requests
    healed = judge(server)
    compare(healed)
    assert server.num_requests == before + 5 and healed.usage()["num_cached"] == 7


def test_a_dead_server_is_given_up_before_every_comparison_was_tried(serve, judge):
    server = serve(lambda *_: {"status": 500, "body": {}})
    many = [AnswerPair(f"Question {i}", "a", "bb") for i in range(50)]
    with pytest.raises(UserError, match=r"50 of 50 .*8 comparisons in a row failed"):
        compare(judge(server, max_retries=0, max_concurrency=4), many)
    assert server.num_requests < 15


def test_a_slow_answer_is_a_timeout_and_named_so(serve, judge):
    server = serve()
    server.seconds = 0.5
    with pytest.raises(UserError, match=r"1 of 1 .*no answer within 0\.05 s"):
        compare(judge(server, timeout_seconds=0.05, max_retries=0), COMPARISONS[:1])


def test_requests_overlap_as_much_as_is_allowed_and_no_more(serve, judge):
    for allowed in (1, 3):
        server = serve()
        server.seconds = 0.05
        compare(judge(server, max_concurrency=allowed))
        assert server.most_at_work == allowed


def test_a_killed_run_loses_no_answer_that_it_got(serve, judge, tmp_path):
    """kill -9 while the fifth question is open: the four answers before it are on disk."""
    reached = threading.Event()

    def behave(server, number, body):
        if number == 5:
            reached.set()
            threading.Event().wait(30)

    server = serve(behave)
    settings = {
        "model": "judge-1", "base_url": server.url, "api_key_env": "JUDGE_KEY", "cache": str(tmp_path / "paid"),
        "max_concurrency": 1,
    }  # fmt: skip
    code = (
        "from selectit.config import JudgeConfig; from selectit.evaluate.judge.base import AnswerPair\n"
        "from selectit.evaluate.judge.load import load_judge\n"
        f"load_judge(JudgeConfig(**{settings!r})).compare([AnswerPair(f'Say {{i}}.', 'a' * 10, 'b' * (5 + i)) "
        "for i in range(12)], lambda n: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    assert reached.wait(120)
    process.kill()
    process.wait()
    [file] = (tmp_path / "paid").glob("*.jsonl")
    with file.open("a") as f:
        f.write('{"key": "torn')  # as a kill in the middle of a write leaves it
    server.behave = lambda *_: None
    going_on = judge(server)
    compare(going_on)
    assert going_on.usage()["num_cached"] == 4 and server.num_requests == 5 + 8
    assert judge(server)._cache.find("torn") is None and compare(judge(server)) and server.num_requests == 13


def test_a_trial_finds_every_reason_why_a_judge_cannot_judge(serve, judge, monkeypatch):
    wrong = {"status": 404, "body": {"error": {"message": "The model `judge-1` does not exist"}}}
    with pytest.raises(UserError, match=r"judge-1 at http.* does not judge: HTTP 404.*does not exist"):
        judge(serve(lambda *_: wrong)).check()
    rejected = {"status": 401, "body": {"error": {"message": f"Incorrect API key provided: {KEY}"}}}
    with pytest.raises(UserError, match="HTTP 401") as error:
        judge(serve(lambda *_: rejected)).check()
    assert "secret" not in str(error.value)
    with pytest.raises(UserError, match=r"gives no log-probabilities.*verdict to text"):
        judge(serve(lambda *_: {"body": completion("m")})).check()
    gone = serve()
    gone.close()
    with pytest.raises(UserError, match="Connection error"):
        judge(gone).check()
    with pytest.raises(UserError, match=r"no file .*fetch"):
        judge(gone, prompt="nowhere.txt")
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(UserError, match=r"JUDGE_KEY is not set.*api_key_env"):
        judge(gone)


def test_a_judge_that_answers_is_tried_once_for_all_stages_and_its_trial_is_not_an_answer(serve, tmp_path):
    server = serve()
    config = JudgeConfig(model="judge-1", base_url=server.url, api_key_env=None, cache=str(tmp_path / "paid"))
    check_judge(config)
    check_judge(config)
    assert server.num_requests == 1 and server.keys == {"Bearer EMPTY"}
    assert not list((tmp_path / "paid").glob("*.jsonl"))


def test_the_key_stands_in_no_file(serve, judge, tmp_path):
    server = serve()
    compare(judge(server))
    assert server.keys == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any("secret" in path.read_text().lower() for path in files)
    for address in ("http://user:key@host/v1", "https://host/v1?key=abc", "host:8000"):
        with pytest.raises(ValueError, match="base_url"):
            JudgeConfig(model="x", base_url=address)


def test_without_the_package_the_extra_is_named(judge, serve, monkeypatch):
    monkeypatch.delitem(sys.modules, "selectit.evaluate.judge.endpoint", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"selectit\[judge\]"):
        judge(serve())


def test_a_prompt_in_chatml_is_asked_as_messages_and_a_ranking_is_a_verdict(serve, judge, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(
        "<|im_start|>system\nYou rank.\n<|im_end|>\n"
        "<|im_start|>user\n{instruction}: {output_1} or {output_2}?\n<|im_end|>"
    )

    def behave(server, number, body):
        return {"body": completion("[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]")}

    server = serve(behave)
    questions = [AnswerPair("<|im_start|> {output_2}", "{instruction}", "b"), AnswerPair("Say 1.", "a", "b")]
    found = compare(judge(server, prompt=str(path), verdict="text"), questions)
    assert found == [0.0 if is_switched_for(one.instruction) else 1.0 for one in questions]
    system, user = next(b for b in server.bodies if "im_start" in b["messages"][1]["content"])["messages"]
    assert system == {"role": "system", "content": "You rank."} and user["role"] == "user"
    assert user["content"].startswith("<|im_start|> {output_2}: ") and "{instruction}" in user["content"]
    path.write_text("{instruction} {output_m}")
    with pytest.raises(UserError, match=r"does not hold \{output_M\}"):
        judge(server, prompt=str(path))


def test_alpaca_evals_own_prompts_are_asked_as_they_are(serve, judge, data):
    """The messages of alpaca_eval 0.6.6 for the same rows: its templates, filled in and split at their marks."""
    references = json.loads((data / "alpaca_eval" / "text_davinci_003.json").read_text())[:10]
    outputs = json.loads((data / "alpaca_eval" / "gpt4.json").read_text())[:10]
    pairs = [AnswerPair(r["instruction"], r["output"], o["output"]) for r, o in zip(references, outputs, strict=True)]
    for name in ("alpaca_eval.txt", "alpaca_eval_clf.txt"):
        path = data / "alpaca_eval" / "prompts" / name
        server = serve()
        compare(judge(server, prompt=str(path), max_concurrency=1), pairs)
        for one, body in zip(pairs, server.bodies, strict=True):
            first, second = one.reference, one.output
            if is_switched_for(one.instruction):
                first, second = second, first
            text = path.read_text().replace("{output_1}", first).replace("{output_2}", second)
            text = text.replace("{instruction}", one.instruction)
            _, system, user = (
                part.partition("\n")[2].partition("<|im_end|>")[0] for part in text.split("<|im_start|>")
            )
            assert [m["content"] for m in body["messages"]] == [system.strip(), user.strip()]
