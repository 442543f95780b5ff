"""Answers of an endpoint as they should not be: bodies and other bytes, each with a name."""

import json

from judge_server import completion

M = [("M", 0.9), ("m", 0.1)]


def changed(change, text="M", top=M):
    body = completion(text, top)
    change(body)
    return body


def with_choice(**fields):
    return changed(lambda body: body["choices"][0].update(fields))


def with_message(**fields):
    return changed(lambda body: body["choices"][0]["message"].update(fields))


def with_top(*entries):
    def change(body):
        body["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = list(entries)

    return changed(change)


def m(logprob):
    return {"token": "m", "logprob": logprob, "bytes": None}


TOP_M = {"token": "M", "logprob": -0.1, "bytes": None}
NOT_COMPLETIONS = {
    "nothing": "",
    "a blank": " ",
    "half": json.dumps(completion("M", M))[:-30],
    "html": "<html><body>Login</body></html>",
    "null": "null",
    "true": "true",
    "a number": "17",
    "a text": '"M"',
    "a list": "[]",
    "a list of completions": [completion("M", M)],
    "an empty object": {},
    "NaN": "NaN",
    "two values": "{}{}",
    "a torn text": '{"choices": "',
    "no UTF-8": b'{"model": "\xff\xfe"}',
    "UTF-16": json.dumps(completion("M", M)).encode("utf-16")[:-7],
    "zeros": b"\0" * 40,
    "deep": "[" * 100_000,
    "deep and whole": '{"choices":' + "[" * 5000 + "]" * 5000 + "}",
    "deep objects": '{"a":' * 50_000,
    "an endless number": '{"choices": 1' + "0" * 10_000 + "}",
    "an error": {"error": {"message": "overloaded", "code": 502}},
    "an error as text": {"error": "quota", "choices": None},
    "an error of a lone surrogate": '{"error": {"message": "\\ud800"}}',
    "an error without message": {"error": [1, {"x": None}]},
    "choices null": changed(lambda b: b.update(choices=None)),
    "choices empty": changed(lambda b: b.update(choices=[])),
    "choices of null": changed(lambda b: b.update(choices=[None])),
    "choices of text": changed(lambda b: b.update(choices=["M"])),
    "choices an object": changed(lambda b: b.update(choices={"0": b["choices"][0]})),
    "choices a number": {"choices": 1},
    "choices twice": json.dumps(completion("M", M))[:-1] + ', "choices": [null]}',
    "message null": with_choice(message=None),
    "message a list": with_choice(message=[]),
    "message a text": with_choice(message="M"),
    "content a number": with_message(content=1),
    "content true": with_message(content=True),
    "content an object": with_message(content={"text": "M"}),
    "content of null": with_message(content=[None]),
    "content of images": with_message(content=[{"type": "image_url", "image_url": {}}]),
    "content with a number": with_message(content=[{"type": "text", "text": 1}]),
}
NO_VERDICTS = {
    "logprobs null": with_choice(logprobs=None),
    "logprobs empty": with_choice(logprobs={}),
    "logprobs a list": with_choice(logprobs=[]),
    "logprobs a text": with_choice(logprobs="M"),
    "logprob content null": with_choice(logprobs={"content": None}),
    "logprob content empty": with_choice(logprobs={"content": []}),
    "logprob content of null": with_choice(logprobs={"content": [None]}),
    "logprob content an object": with_choice(logprobs={"content": {"0": 1}}),
    "top null": with_choice(logprobs={"content": [{"top_logprobs": None}]}),
    "top empty": with_top(),
    "top of null": with_top(None, 1, "m"),
    "top of lists": with_top([], ["m", -1]),
    "top without m or M": with_top({"token": "x", "logprob": -1.0}),
    "token a list": with_top({"token": ["m"], "logprob": -1.0}),
    "token null": with_top({"token": None, "logprob": -1.0}),
    "logprob missing": with_top(TOP_M, {"token": "m"}),
    "logprob null": with_top(TOP_M, m(None)),
    "logprob a text": with_top(TOP_M, m("-1")),
    "logprob true": with_top(TOP_M, m(True)),
    "logprob NaN": json.dumps(with_top(TOP_M, m(float("nan")))),
    "logprob infinite": json.dumps(with_top(TOP_M, m(float("inf")))),
    "logprob of no probability": with_top(TOP_M, m(700.5)),
    "logprob enormous": with_top(TOP_M, m(10**400)),
    "m twice": with_top(TOP_M, m(-1.0), m(-2.0)),
    "both impossible": json.dumps(with_top({**TOP_M, "logprob": float("-inf")}, m(-9999.0))),
    "refused": changed(
        lambda b: b["choices"][0].update(logprobs=None, message={"content": None, "refusal": "I can't."})
    ),
}
NO_TEXTS = {
    "content null": with_message(content=None),
    "content missing": with_choice(message={"role": "assistant"}),
    "content empty": with_message(content=""),
    "content of no parts": with_message(content=[]),
    "content a lone surrogate": json.dumps(with_message(content="\ud800")),
    "content no verdict": with_message(content="Hm."),
    "two verdicts": with_message(content="M\n\nm"),
    "only thoughts": with_message(content="<think>M"),
    "thoughts as parts": with_message(content=[{"type": "thinking", "thinking": "M"}]),
    "a filter": with_choice(finish_reason="content_filter", message={"content": None}),
}
CASES = {
    "logprobs": {**NOT_COMPLETIONS, **NO_VERDICTS},
    "text": {**NOT_COMPLETIONS, **{f"text: {name}": body for name, body in NO_TEXTS.items()}},
}


ODD_BUT_WHOLE = {
    "usage null": changed(lambda b: b.update(usage=None)),
    "usage a list": changed(lambda b: b.update(usage=[1])),
    "usage of null": changed(lambda b: b.update(usage={"prompt_tokens": None, "completion_tokens": None})),
    "usage negative": changed(lambda b: b["usage"].update(prompt_tokens=-5)),
    "usage as text": changed(lambda b: b["usage"].update(prompt_tokens="100")),
    "usage true": changed(lambda b: b["usage"].update(completion_tokens=True)),
    "usage a fraction": changed(lambda b: b["usage"].update(completion_tokens=1.5)),
    "usage enormous": changed(lambda b: b["usage"].update(prompt_tokens=10**400)),
    "usage NaN": json.dumps(changed(lambda b: b["usage"].update(prompt_tokens=float("nan")))),
    "usage missing": changed(lambda b: b.pop("usage")),
}


SENT = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "a status that is none": b"HTTP/1.1 abc\r\n\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
    "broken chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n{}",
    "a redirect to nowhere": b"HTTP/1.1 307 X\r\nLocation: http://[::bad/\r\nContent-Length: 0\r\n\r\n",
    "a redirect to no address": b"HTTP/1.1 307 X\r\nLocation: http://\xff\xfe:99999999/\r\nContent-Length: 0\r\n\r\n",
    "a status of no kind": b"HTTP/1.1 799 X\r\nContent-Length: 0\r\n\r\n",
    "a redirect without address": b"HTTP/1.1 307 X\r\nContent-Length: 0\r\n\r\n",
}
