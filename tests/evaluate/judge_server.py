"""A judge on 127.0.0.1 that speaks the chat-completions format, well or badly, and counts what it is asked."""

import json
import math
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from selectit.evaluate.judge.base import AnswerPair

KEY = "sk-Very/Secret+0123456789"
ONE = AnswerPair("Say 1.", reference="a", output="bb")


def compare(judge, comparisons=(ONE,)):
    return judge.compare(list(comparisons), lambda number: None)


def kept_lines(folder):
    """Of the judge's cache in a test's folder."""
    return [line for path in (folder / "paid").glob("*.jsonl") for line in path.read_bytes().splitlines()]


class JudgeServer:
    """Prefers the longer output, with probability 0.9.

    Args: behave: called with (server, number of the request from 1, its body); what it returns stands in for the
        answer: a mapping with `status`, `headers` and `body` (bytes, a text, or what becomes JSON), each of which may
        be left out; `seconds_per_byte` drips the body; `raw` stands for all that is sent; None: answer well.
    """

    def __init__(self, behave=None):
        self.behave = behave or (lambda server, number, body: None)
        self.bodies, self.keys, self.at_work, self.most_at_work, self.seconds = [], set(), 0, 0, 0.0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # which waits 40 ms between an answer's head and its body

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.keys.add(self.headers["Authorization"])
                    server.bodies.append(body)
                    number = len(server.bodies)
                    server.at_work += 1
                    server.most_at_work = max(server.most_at_work, server.at_work)
                try:
                    time.sleep(server.seconds)
                    found = server.behave(server, number, body) or {}
                finally:
                    with server._lock:
                        server.at_work -= 1
                answer = found.get("body", good(body))
                payload = answer.encode() if isinstance(answer, str) else answer
                payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
                try:
                    if "raw" in found:
                        self.close_connection = True
                        self.wfile.write(found["raw"])
                        return
                    self.send_response(found.get("status", 200))
                    for name, value in {"Content-Type": "application/json", **found.get("headers", {})}.items():
                        self.send_header(name, value)
                    if "Content-Length" not in found.get("headers", {}):
                        self.send_header("Content-Length", str(len(payload)))
                    self.end_headers()
                    if "seconds_per_byte" in found:
                        for byte in payload:
                            self.wfile.write(bytes([byte]))
                            time.sleep(found["seconds_per_byte"])
                    else:
                        self.wfile.write(payload)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client did not wait

            def log_message(self, *arguments):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def num_requests(self):
        return len(self.bodies)

    def close(self):
        self._http.shutdown()
        self._http.server_close()


def shown(body):
    """The outputs called m and M in a request made with this project's own prompt."""
    text = body["messages"][-1]["content"]
    return re.search(r"Output of m:\n(.*)\n\nOutput of M:\n(.*)\n\nThe better", text, re.DOTALL).groups()


def good(body):
    try:
        first, second = shown(body)
        letter = "M" if len(second) > len(first) else "m"
    except AttributeError:
        letter = "m"
    top = [(letter, 0.9), ("m" if letter == "M" else "M", 0.1)] if body.get("logprobs") else None
    return completion(letter, top)


def completion(text, top=None, model="judge-1-0613"):
    """A chat completion; top: (token, probability) of the first token, None: without log-probabilities."""
    logprobs = None
    if top is not None:
        listed = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in top]
        logprobs = {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": listed}]}
    choice = {
        "index": 0, "finish_reason": "stop", "logprobs": logprobs,
        "message": {"role": "assistant", "content": text},
    }  # fmt: skip
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
    return {
        "id": "x", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage,
    }  # fmt: skip
