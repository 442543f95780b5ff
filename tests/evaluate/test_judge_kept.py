"""What is kept of a judge's answers, under which key of the cache, and that no key of the endpoint is in it."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from judge_bodies import M, changed, with_message
from judge_server import KEY, ONE, compare, completion

from selectit.config import JudgeConfig
from selectit.errors import UserError
from selectit.evaluate.judge.base import AnswerPair
from selectit.evaluate.judge.key import KeyMask


def test_a_cache_of_damaged_lines_costs_their_answers_and_no_more(serve, judge, tmp_path):
    comparisons = [AnswerPair(f"Say {i}.", "a", "bb") for i in range(30)]
    server = serve()
    expected = compare(judge(server), comparisons)
    [path] = (tmp_path / "paid").glob("*.jsonl")
    fields = [json.loads(line) for line in path.read_bytes().splitlines()]
    odd = {
        "key": (None, ["x"]), "verdict": (None, "1", True, 2, -0.1, float("nan"), 10**400), "text": (None, ["M"]),
        "input_tokens": ("1", -1), "output_tokens": (0.5, True), "answered_by": (None,), "more": (1,),
    }  # fmt: skip
    changes = [{name: value} for name, values in odd.items() for value in values]
    lines = [json.dumps({**one, **change}) for one, change in zip(fields, changes, strict=False)]
    for one, lacking in zip(fields[len(lines) :], ("key", "text", "verdict"), strict=False):
        lines.append(json.dumps({name: value for name, value in one.items() if name != lacking}))
    assert len(lines) == 20
    content = "\n".join([*lines, "[]", "null", "17", "{}", "[" * 100_000, '"key"', ""]).encode()
    content += (
        b'\xff\xfe{"key"\n' + b"\0" * 30 + b"\r\n\n" + b"\n".join(json.dumps(one).encode() for one in fields[20:])
    )
    path.write_bytes(content[:-9])
    assert compare(judge(server), comparisons) == expected
    assert server.num_requests == 30 + 21
    assert compare(judge(server), comparisons) == expected and server.num_requests == 51


def test_a_kept_text_that_holds_no_verdict_is_asked_again(serve, judge, tmp_path):
    server = serve(lambda *_: {"body": completion("[[A>B]]" if "Request:" in str(_[2]) else "M")})
    for settings in ({"verdict": "text"}, {"games": True}):
        asked = judge(server, **settings)
        ask = asked.play if settings.get("games") else asked.compare
        found, before = ask([ONE], lambda n: None), server.num_requests
        [path] = (tmp_path / "paid").glob("*.jsonl")
        lines = [{**json.loads(line), "text": "M, or m; [[A>B]] or [[B>A]]"} for line in path.read_bytes().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        again = judge(server, **settings)
        assert (again.play if settings.get("games") else again.compare)([ONE], lambda n: None) == found
        assert server.num_requests == before + (2 if settings.get("games") else 1)


def test_a_cache_that_is_not_a_file_is_named(serve, judge, tmp_path):
    server = serve()
    compare(judge(server))
    [path] = (tmp_path / "paid").glob("*.jsonl")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"judge\.cache: .*jsonl cannot be read \(Is a directory\)"):
        judge(server)


def in_base64(text):
    return base64.b64encode(text.encode()).decode()


ECHOES = {
    "plain": KEY,
    "in a header": f"Authorization: Bearer {KEY}",
    "in a URL": f"https://x/?key={quote(KEY, safe='')}",
    "in a URL, lower": f"https://x/?key={quote(KEY, safe='').lower()}",
    "base64": in_base64(KEY),
    "basic": in_base64(f"user:{KEY}"),
    "bearer": in_base64(f"Bearer {KEY}!"),
    "for URLs": base64.urlsafe_b64encode(f"k={KEY}???>>>".encode()).decode(),
    "at two": in_base64(f"ab{KEY}xyz"),
    "hexadecimal": KEY.encode().hex(),
    "upper case": KEY.upper(),
    "with zeros": "\0" + KEY + "\0",
}


def is_secret(text):
    text = text if isinstance(text, str) else json.dumps(text)
    base64s = (in_base64("x" * i + KEY)[4:-6] for i in range(3))
    forms = [KEY, quote(KEY, safe=""), KEY.encode().hex(), *base64s]
    return any(form.lower() in text.lower() for form in forms)


@pytest.mark.parametrize("echo", [pytest.param(echo, id=name) for name, echo in ECHOES.items()])
def test_a_key_is_masked_in_every_form_that_it_is_sent_back_in(echo):
    assert is_secret(echo) and not is_secret(KeyMask(KEY)(f"a {echo} b"))
    assert "<key>" in KeyMask(KEY).line(f"\n{echo}\n") and KeyMask(KEY)("No key at all.") == "No key at all."


@pytest.mark.parametrize("echo", [KEY, ECHOES["bearer"]], ids=["plain", "base64"])
def test_a_key_that_the_endpoint_sends_back_stands_in_no_file_message_or_result(serve, judge, tmp_path, echo):
    for found in (
        {"body": json.dumps(changed(lambda b: b.update(model=echo), text=f"M\n\n{echo}"))},
        {"body": json.dumps(with_message(content=f"Hm. {echo}"))},
        {"body": json.dumps({"error": {"message": echo}})},
        {"status": 401, "body": json.dumps({"error": {"message": f"{'x' * 150}{echo}"}})},
        {"status": 500, "body": echo},
        {"status": 400, "body": json.dumps({"error": {"message": echo}})},
        {"status": 307, "headers": {"Location": "http://localhost:1/" + quote(echo)}},
    ):
        asked = judge(serve(lambda *_, f=found: f), verdict="text")
        try:
            compare(asked)
            reported = [asked.describe(), asked.usage(), asked.notes(), str(asked.left_out())]
        except UserError as error:
            reported = [str(error)]
        assert not any(map(is_secret, reported)), found
    with pytest.raises(UserError, match="HTTP 401") as error:
        judge(serve(lambda *_: {"status": 401, "body": {"error": {"message": echo}}})).check()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not is_secret(str(error.value)) and any(b"<key>" in path.read_bytes() for path in files)
    assert not any(is_secret(path.read_text()) for path in files)


def test_a_placeholder_is_not_a_key_and_its_letters_stay(monkeypatch, serve, judge):
    for key in ("M", "EMPTY", "none"):
        monkeypatch.setenv("JUDGE_KEY", key)
        assert KeyMask(key)(f"{key}, M and none") == f"{key}, M and none"
    server = serve(lambda *_: {"body": completion("M\n\nThe other is EMPTY.")})
    assert compare(judge(server, verdict="text")) == compare(judge(server, verdict="text")) != [None]
    assert server.num_requests == 1


@pytest.mark.parametrize("key", ["sk-secret-0123\n", " sk-secret-0123", "sk secret", "sk-sécret"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_printed(monkeypatch, serve, judge, key):
    server = serve()
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(UserError, match=r"JUDGE_KEY holds a blank, a line break or a character outside ASCII") as error:
        judge(server)
    assert key not in str(error.value) and server.num_requests == 0


def test_usual_requests_are_what_they_always_were(serve, judge):
    """Their fields, values and cache keys: what was paid for stays paid."""
    server = serve(lambda *_: {"body": completion("[[A>B]]" if _[2]["max_tokens"] == 4096 else "M", M)})
    for settings, expected in (
        ({}, {"max_tokens": 1, "logprobs": True, "top_logprobs": 5}), ({"verdict": "text"}, {"max_tokens": 100}),
        ({"games": True}, {"max_tokens": 4096}),
    ):  # fmt: skip
        asked = judge(server, **settings)
        (asked.play if "games" in settings else asked.compare)([ONE], lambda n: None)
        body = {name: value for name, value in server.bodies[-1].items() if name != "messages"}
        assert body == {"model": "judge-1", "temperature": 0, **expected} and isinstance(body["temperature"], int)
    reported = judge(type("Server", (), {"url": "https://api.openai.com/v1"}), api_key_env=None)
    # computed with e760824, before these settings could be changed
    assert reported._question(ONE).key == USUAL_KEY


USUAL_KEY = "7ef3ee786be9754e193b8953ea8bd372e6971ec63512cbb3c5e30ece3cb25e6f"


def test_settings_of_the_request_are_sent_and_make_other_answers(serve, judge):
    server = serve(lambda *_: {"body": completion("M", M)})
    compare(judge(server))
    changes = [
        {"max_tokens": 50}, {"temperature": 0.7}, {"extra_body": {"reasoning_effort": "low"}},
        {"extra_body": {"max_tokens": None, "temperature": None, "max_completion_tokens": 900}},
    ]  # fmt: skip
    for number, change in enumerate(changes):
        compare(judge(server, **change))
        assert server.num_requests == number + 2
        body = server.bodies[-1]
        for name, value in {**change, **change.get("extra_body", {})}.items():
            if name != "extra_body":
                assert body.get(name) == value and (value is not None or name not in body)
    compare(judge(server, max_missing=0.5, timeout_seconds=9))
    assert server.num_requests == 5
    for extra in ({"model": "x"}, {"n": 2}, {"stream": True}, {"max_tokens": 5}, {"x": float("nan")}, {"x": {1: 2}}):
        with pytest.raises(ValueError, match="extra_body"):
            judge(server, extra_body=extra)
    for wrong in ({"max_tokens": 0}, {"temperature": -1}, {"max_missing": 1}, {"max_missing": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            judge(server, **wrong)


def test_a_configuration_with_fields_of_a_request_can_be_hashed_and_read_back():
    config = JudgeConfig(model="x", extra_body={"a": [1, {"b": None}]})
    again = JudgeConfig(**json.loads(config.model_dump_json()))
    assert again == config and hash(again) == hash(config) and config.extra_body == {"a": [1, {"b": None}]}
    assert JudgeConfig(model="x").model_dump()["extra_body"] == {} and Path(config.cache).name == "judge"
