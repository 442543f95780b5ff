"""Endpoints that answer badly: no body, header or cache line raises, and nothing that is not whole is ever kept."""

import gzip
import json
import random
import re
import time

import pytest
from judge_bodies import CASES, ODD_BUT_WHOLE, SENT, M, changed, with_message
from judge_server import compare, completion, good, kept_lines

from selectit.errors import UserError
from selectit.evaluate.judge.base import AnswerPair
from selectit.evaluate.judge.bounded_http import MAX_BODY_BYTES
from selectit.evaluate.judge.completion import NotACompletion, NoVerdict, read_completion, read_verdict
from selectit.evaluate.judge.endpoint import MOST_ASKED, MOST_FAILED


@pytest.mark.parametrize("verdict", ["logprobs", "text"])
def test_a_body_without_a_verdict_is_counted_and_never_kept_and_asked_again(serve, judge, tmp_path, verdict):
    """Each odd body answers one comparison; after each a good one, so that the endpoint is not taken for dead."""
    bodies = CASES[verdict]
    comparisons = [AnswerPair(f"Say {what}{i}.", "a", "bb") for i in range(len(bodies)) for what in ("odd ", "good ")]

    def behave(server, number, body):
        found = re.search(r"Say odd (\d+)\.", body["messages"][-1]["content"])
        return {"body": list(bodies.values())[int(found[1])] if found else completion("M", M)}

    server = serve(behave)
    asked = judge(server, verdict=verdict, max_concurrency=1, max_missing=0.9)
    found = compare(asked, comparisons)
    assert [name for name, one in zip(bodies, found[::2], strict=True) if one is not None] == []
    assert None not in found[1::2] and server.num_requests == len(bodies) * (MOST_ASKED + 1)
    assert asked.left_out().num_unreadable == asked.usage()["num_unreadable"] == len(bodies)
    assert asked.left_out().note().encode() and len(kept_lines(tmp_path)) == len(bodies)
    server.behave = lambda *_: {"body": completion("M", M)}
    assert None not in compare(judge(server, verdict=verdict), comparisons)
    assert server.num_requests == len(bodies) * (MOST_ASKED + 2)


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in ODD_BUT_WHOLE.items()])
def test_a_verdict_counts_where_only_its_token_counts_are_odd_and_a_note_reports_that_cost_lacks_them(
    serve, judge, body
):
    server = serve(lambda *_: {"body": body})
    for num_requests in (1, 1):  # the second time from the cache
        asked = judge(server, usd_per_million_input_tokens=10, usd_per_million_output_tokens=30)
        assert compare(asked) != [None] and server.num_requests == num_requests
        assert asked.usage()["num_uncounted"] == 1 and "1 answers of judge-1 give no token counts" in asked.notes()[0]


@pytest.mark.parametrize("name", [None, 5, ["x"], "\ud800", "a\x1b[31mb\n", "[/red]"])
def test_the_name_that_the_endpoint_gives_itself_is_one_line_of_text(serve, judge, name):
    asked = judge(serve(lambda *_: {"body": json.dumps(changed(lambda b: b.update(model=name)))}))
    assert compare(asked) != [None]
    answered_by = asked.describe()["answered_by"]
    answered_by.encode()
    assert answered_by.isprintable() and answered_by


def test_a_text_in_parts_is_read_without_its_thoughts_and_a_lone_surrogate_in_it_is_kept(serve, judge, tmp_path):
    parts = [
        {"type": "thinking", "thinking": "m, or"},
        {"type": "text", "text": "M"},
        {"type": "text", "text": "\n\n\ud800!"},
    ]
    server = serve(lambda *_: {"body": json.dumps(with_message(content=parts))})
    first = compare(judge(server, verdict="text"))
    assert first != [None] and compare(judge(server, verdict="text")) == first and server.num_requests == 1
    assert json.loads(kept_lines(tmp_path)[0])["text"] == "M\n\n\ud800!"


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in SENT.items()])
def test_what_is_not_an_answer_of_http_is_a_failure_that_is_named(serve, judge, tmp_path, sent):
    with pytest.raises(UserError, match=r"1 of 1 comparisons have no answer of the judge judge-1"):
        compare(judge(serve(lambda *_: {"raw": sent})))
    assert not kept_lines(tmp_path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/html"}, {"Content-Type": "application/json; charset=hex"}, {"Content-Type": "\xff"},
        {"Content-Type": "application/json; charset=utf-7"}, {"Retry-After": "nan"}, {"x-request-id": "a" * 9000},
        {"Content-Type": "text/event-stream"}, {"Content-Encoding": "identity"},
    ],
    ids=str,
)  # fmt: skip
def test_headers_of_another_kind_do_not_change_what_the_body_holds(serve, judge, headers):
    server = serve(lambda s, number, body: {"headers": headers, "body": good(body)})
    assert compare(judge(server)) != [None]


@pytest.mark.parametrize("status", [400, 413, 422, 451])
def test_a_comparison_that_the_endpoint_refuses_is_left_out_and_the_others_are_judged(serve, judge, status):
    """Up to the share that is allowed there is a rate; the body of the refusal may be anything."""

    def behave(server, number, body):
        if "Say 7." in body["messages"][-1]["content"]:
            return {
                "status": status,
                "body": random.Random(number).choice([b"\xff", "{", {"error": None}, {"error": {"message": 3}}]),
            }

    asked = judge(serve(behave))
    found = compare(asked, [AnswerPair(f"Say {i}.", "a", "bb") for i in range(50)])
    assert [i for i, probability in enumerate(found) if probability is None] == [7]
    left_out = asked.left_out()
    assert (left_out.num_refused, left_out.num_unreadable, left_out.is_too_many) == (1, 0, False)
    assert f"HTTP {status}" in left_out.note() and "at most 2.00% may be" in left_out.note()
    asked = judge(asked_server := serve(behave), max_missing=0.01)
    compare(asked, [AnswerPair(f"Say {i}.", "a", "bb") for i in range(50)])
    assert asked.left_out().is_too_many and asked_server.num_requests == 50


@pytest.mark.parametrize("status", [402, 405, 418])
def test_a_status_that_every_request_would_meet_ends_the_asking(serve, judge, status):
    server = serve(lambda *_: {"status": status, "body": {"error": {"message": "no credit"}}})
    with pytest.raises(UserError, match=rf"HTTP {status}.*no credit"):
        compare(judge(server, max_concurrency=1), [AnswerPair(f"Say {i}.", "a", "bb") for i in range(20)])
    assert server.num_requests == 1


def test_an_endpoint_that_sends_pages_instead_of_completions_is_taken_for_dead_and_fails(serve, judge):
    """So that the same command asks again, instead of a result without a rate."""
    server = serve(lambda *_: {"body": "<html>Please log in</html>"})
    with pytest.raises(UserError, match=rf"{MOST_FAILED} comparisons in a row failed.*the same command asks for these"):
        compare(judge(server, max_concurrency=1), [AnswerPair(f"Say {i}.", "a", "bb") for i in range(20)])
    assert server.num_requests == MOST_FAILED * MOST_ASKED


WHOLE = [
    json.dumps(completion(*reported)).encode() for reported in (("M", M), ("m\n\nBecause", None), ("[[A>B]]", None))
]


def damage(draw, body):
    """Bytes of a body cut, changed, repeated or replaced by other values; some are left whole."""
    body = bytearray(body)
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        at, length = draw.randrange(len(body) or 1), draw.randrange(1, 12)
        part = bytes(body[at : at + length])
        body[at : at + length] = draw.choice((b"", bytes([draw.randrange(256)]), part * 2, b"null", b"-1", b"{}", b'"'))
    return bytes(body[: draw.choice((None, None, draw.randrange(len(body) + 1)))])


def test_damaged_bodies_are_read_or_refused_and_nothing_else():
    draw = random.Random(0)
    num_read = num_refused = 0
    for _ in range(6000):
        for kind in ("logprobs", "text", "game"):
            try:
                found = read_completion(damage(draw, draw.choice(WHOLE)))
                verdict = read_verdict(found, kind)
            except (NotACompletion, NoVerdict):
                num_refused += 1
                continue
            num_read += 1
            assert type(verdict) is float and 0 <= verdict <= 1 and isinstance(found.text, str)
            assert all(count is None or count >= 0 for count in (found.input_tokens, found.output_tokens))
    assert num_read > 1000 and num_refused > 1000


def test_every_value_of_a_body_may_be_another_one():
    """Each place in a completion takes each kind of value in turn."""
    odd = [None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", "M", "\ud800", [], [None], {}, {"x": None}]

    def places(value, path=()):
        yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield from places(inner, (*path, key))

    for kind, body in (("logprobs", completion("M", M)), ("text", completion("M")), ("game", completion("[[A>B]]"))):
        for path in places(body):
            for value in odd:
                changed_body = {"all": json.loads(json.dumps(body))}
                inner = changed_body
                for key in (steps := ("all", *path))[:-1]:
                    inner = inner[key]
                inner[steps[-1]] = value
                try:
                    assert 0 <= read_verdict(read_completion(json.dumps(changed_body["all"]).encode()), kind) <= 1
                except (NotACompletion, NoVerdict) as error:
                    assert str(error)


def test_what_is_kept_of_damaged_bodies_is_read_again(serve, judge, tmp_path):
    draw = random.Random(1)
    server = serve(lambda *_: {"body": damage(draw, draw.choice(WHOLE))})
    comparisons = [AnswerPair(f"Say {i}.", "a", "bb") for i in range(60)]
    for settings in ({"verdict": "text"}, {"games": True}):
        asked = judge(server, max_concurrency=4, max_missing=0.99, **settings)
        try:
            (asked.play if "games" in settings else asked.compare)(comparisons, lambda n: None)
        except UserError as error:
            assert "comparisons in a row failed" in str(error)
    lines = kept_lines(tmp_path)
    assert len(lines) > 20 and len(judge(server)._cache._answers) == len(lines)


def test_a_body_above_its_bound_is_not_read_to_its_end(serve, judge):
    """Whether it says how long it is or not, is packed or not; a server that sends without end is left."""
    large = json.dumps(completion("M", M)).encode()[:-1] + b" " * MAX_BODY_BYTES + b"}"
    for found in (
        {"body": large},
        {"body": gzip.compress(large), "headers": {"Content-Encoding": "gzip"}},
        {"raw": b"HTTP/1.1 200 OK\r\n\r\n" + large},
    ):
        asked = judge(serve(lambda *_, found=found: found))
        assert compare(asked) == [None]
        assert "larger than 8 MiB" in asked.left_out().reasons
    refused = judge(serve(lambda *_: {"status": 400, "body": b"x" * (MAX_BODY_BYTES + 1)}))
    assert compare(refused) == [None] and "HTTP 400" in refused.left_out().reasons


def test_a_packed_body_is_read_and_one_that_only_claims_it_is_not(serve, judge):
    packed = gzip.compress(json.dumps(completion("M", M)).encode())
    assert compare(judge(serve(lambda *_: {"body": packed, "headers": {"Content-Encoding": "gzip"}}))) != [None]
    for headers, body in (
        ({"Content-Encoding": "gzip"}, b"M"),
        ({"Content-Encoding": "br"}, b"M"),
        ({"Content-Encoding": "gzip"}, packed[:-20]),
    ):
        server = serve(lambda *_, h=headers, b=body: {"body": b, "headers": h})
        assert compare(judge(server)) == [None]


@pytest.mark.parametrize(
    "found",
    [{"seconds_per_byte": 0.05}, {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"}],
    ids=["drips", "half"],
)
def test_the_time_is_that_of_the_whole_answer_however_its_bytes_come(serve, judge, found):
    """Each byte comes soon after the one before, and the whole answer would take half a minute."""
    server = serve(lambda *_: found)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no answer within 0\.4 s|peer closed connection"):
        compare(judge(server, timeout_seconds=0.4))
    assert time.monotonic() - started < 5


def test_a_redirect_to_another_host_is_not_followed_and_the_key_stays(serve, judge):
    for status in (302, 307):
        other = serve()
        here = serve(
            lambda *_, s=status, o=other: {"status": s, "headers": {"Location": o.url + "/chat/completions?k=v"}}
        )
        with pytest.raises(
            UserError, match=rf"HTTP {status}, a redirect to another host.*127\.0\.0\.1:.*set evaluate\.judge\.base_url"
        ):
            compare(judge(here, max_retries=3), [AnswerPair(f"Say {i}.", "a", "bb") for i in range(20)])
        assert other.num_requests == 0 and here.num_requests <= 8, "the first answer ends the asking"


def test_a_redirect_on_the_same_host_is_followed_and_a_circle_of_them_ends(serve, judge):
    def behave(server, number, body):
        return {"status": 307, "headers": {"Location": "/v1/chat/completions/"}, "body": ""} if number == 1 else None

    server = serve(behave)
    assert compare(judge(server)) != [None] and server.num_requests == 2
    circle = serve(lambda *_: {"status": 307, "headers": {"Location": "/v1/chat/completions"}, "body": ""})
    with pytest.raises(UserError, match="more than 5 redirects"):
        compare(judge(circle))
    assert circle.num_requests == 6
