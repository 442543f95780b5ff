"""A benchmark that is killed resumes where it was, and no number of processes or rows in a batch is in its result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from selectit.evaluate.grading.sandbox import unavailable
from selectit.evaluate.model.answers import ANSWERS_FILE, Answers
from selectit.inference.answerer import Answerer
from selectit.inference.batch import Batch
from selectit.inference.requests import Answer, FirstTokens, Generation, GenerationSettings, Likelihood

RUN = """
import io, sys
from pathlib import Path
from rich.console import Console
from selectit.evaluate.stage_config import EvaluateStage
from selectit.evaluate import stage
from selectit.tracking import Tracker
out = Path(sys.argv[2])
stage.run(EvaluateStage.model_validate_json(sys.argv[1]), {}, out, Tracker(out, Console(file=io.StringIO())))
"""


@pytest.fixture
def asked(monkeypatch):
    """The requests that the model was asked in this process."""
    requests = []
    answer = Answerer.answer
    monkeypatch.setattr(Answerer, "answer", lambda self, batch: requests.extend(batch.items) or answer(self, batch))
    return requests


def items(out):
    return (out / "items.jsonl").read_bytes()


def outputs(out):
    return [json.loads(line)["outputs"] for line in items(out).splitlines()]


def kill_in_the_middle(config, out, num_answers):
    """Run the stage in a process of its own and kill it when so many answers are on disk; returns how many were."""
    out.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", RUN, config.model_dump_json(), str(out)])
    path = out / ANSWERS_FILE
    try:
        deadline = time.monotonic() + 120
        while not path.is_file() or path.read_bytes().count(b"\n") < num_answers:
            assert process.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    return path.read_bytes().count(b"\n")


@pytest.mark.parametrize("benchmark", ["gsm8k", pytest.param("mmlu", marks=pytest.mark.slow)])
def test_a_killed_benchmark_asks_only_what_was_in_flight(evaluate, config_of, asked, benchmark):
    _, out = evaluate(benchmark, batch_size=2)
    whole, num_asked = items(out), len(asked)
    assert not (out / ANSWERS_FILE).exists(), "the answers are in items.jsonl"
    (out / "items.jsonl").unlink()

    kept = kill_in_the_middle(config_of(benchmark, batch_size=2), out, num_answers=4)
    assert 0 < kept < num_asked and not (out / "items.jsonl").exists()
    asked.clear()
    metrics, out = evaluate(benchmark, batch_size=2)
    assert len(asked) == num_asked - kept
    assert items(out) == whole
    assert metrics["seconds"] > 0 and metrics["tokens_per_second"] > 0


@pytest.mark.skipif(unavailable("bwrap") is not None, reason=str(unavailable("bwrap")))
def test_samples_that_were_kept_are_those_that_would_be_drawn(evaluate, monkeypatch, asked):
    _, out = evaluate("humaneval", batch_size=3)
    whole, num_asked = items(out), len(asked)
    asked.clear()
    add = Answers.add

    def stop_at_third(self, batch, answers):
        add(self, batch, answers)
        if len(self._found) > 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Answers, "add", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            evaluate("humaneval", batch_size=3)
    _, out = evaluate("humaneval", batch_size=3)
    assert len(asked) == num_asked and items(out) == whole


@pytest.mark.parametrize("benchmark", ["mmlu", "tydiqa"])
def test_the_number_of_processes_is_not_in_the_result(evaluate, benchmark):
    _, out = evaluate(benchmark, num_processes=1, limit=4)
    one = items(out)
    _, out = evaluate(benchmark, num_processes=2, limit=4)
    assert items(out) == one


def test_the_size_of_a_batch_changes_no_answer(evaluate):
    for benchmark in ("mmlu", "bbh"):
        seen = []
        for batch_size in (1, 5, None):
            metrics, out = evaluate(benchmark, batch_size=batch_size, limit=4)
            seen.append((metrics["value"], outputs(out)))
        for value, answers in seen[1:]:
            assert value == seen[0][0]
            if benchmark == "bbh":
                assert answers == seen[0][1]
            else:
                assert all(a == pytest.approx(b, abs=1e-4) for a, b in zip(answers, seen[0][1], strict=True))


BATCH = Batch([Likelihood((1, 2), ((3,), (4,))), Likelihood((1, 5), ((3,),))])
PROMPT = Generation((1, 2), GenerationSettings(("\n",), 8))
ANSWERS = [Answer([[-0.1, True], [-3.0000000000000004, False]], 4), Answer([[-1.5, False]], 3)]


def test_an_answer_is_found_again_by_its_whole_content(tmp_path):
    Answers(tmp_path, {"dtype": "float32"}).add(BATCH, ANSWERS)
    kept = Answers(tmp_path, {"dtype": "float32"})
    assert kept.of(BATCH) == ANSWERS
    assert kept.of(Batch(BATCH.items[:1])) == ANSWERS[:1]
    assert kept.of(Batch([Likelihood((1, 2), ((3,),))])) is None, "other continuations"
    assert Answers(tmp_path, {"dtype": "bfloat16"}).of(BATCH) is None, "another number format"
    settings = GenerationSettings(("\n",), 8, temperature=0.8, top_p=0.9, seed=1)
    prompt = Batch([Generation((1, 2), settings)])
    kept.add(prompt, [Answer("Zeile\u2028\u00e4 \ufffd\n", 5)])
    again = Answers(tmp_path, {"dtype": "float32"})
    assert again.of(prompt) == [Answer("Zeile\u2028\u00e4 \ufffd\n", 5)]
    assert again.of(Batch([Generation((1, 2), settings, number=1)])) is None, "another draw"
    assert again.of(Batch([Generation((1, 2), GenerationSettings(("\n",), 8, 0.8, 0.9, seed=2))])) is None


def test_a_line_that_was_being_written_is_left_out_and_its_batch_asked_again(tmp_path):
    Answers(tmp_path, {}).add(BATCH, ANSWERS)
    path = tmp_path / ANSWERS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    kept = Answers(tmp_path, {})
    assert kept.of(BATCH) is None and kept.of(Batch(BATCH.items[:1])) == ANSWERS[:1]
    kept.add(BATCH, ANSWERS)
    assert Answers(tmp_path, {}).of(BATCH) == ANSWERS


def test_damaged_lines_are_left_out_and_their_batches_asked_again(tmp_path):
    """Whatever stands in a line: another shape, other types, other lengths, no UTF-8, no JSON."""
    Answers(tmp_path, {}).add(BATCH, ANSWERS)
    Answers(tmp_path, {}).add(Batch([PROMPT]), [Answer("Paris.", 5, "end")])
    path = tmp_path / ANSWERS_FILE
    whole = [json.loads(line) for line in path.read_bytes().splitlines()]
    first, prompt = whole[0][0], whole[2][0]
    pairs = whole[0][1]
    damaged = [
        *(None, 3, "x", {}, {"key": first}, [], [first], [first, pairs], [first, pairs, 4], [first, pairs, 4, None, 4]),
        *([key, pairs, 4, None] for key in (None, 3, [first])),
        *([first, pairs, count, None] for count in ("4", -1, True, None, 4.0)),
        *([first, pairs, 4, ending] for ending in ("end", 3, ["end"], {})),
        *([first, value, 4, None] for value in (None, "text", {}, pairs[:1], [*pairs, pairs[0]], [pairs[0], None])),
        *([first, [pairs[0], pair], 4, None] for pair in ([-1.0], ["-1", True], [None, True], [-1.0, 1], [True, True])),
        *([first, [pairs[0], [odd, True]], 4, None] for odd in (float("nan"), float("-inf"), 10**400)),
    ]
    lines = [json.dumps(line).encode() for line in damaged]
    lines += [b"\xff\xfe[", b"\0" * 20, b"[" * 100_000, json.dumps(whole[0]).encode()[:-4], b"", b"{\r}"]
    for line in lines:
        path.write_bytes(line + b"\n" + b"".join(json.dumps(one).encode() + b"\n" for one in whole[1:]))
        kept = Answers(tmp_path, {})
        assert kept.of(BATCH) is None and kept.of(Batch(BATCH.items[1:])) == ANSWERS[1:], line[:60]
        assert kept.of(Batch([PROMPT])) == [Answer("Paris.", 5, "end")]
        kept.add(BATCH, ANSWERS)
        assert Answers(tmp_path, {}).of(BATCH) == ANSWERS
    odd = [(value, 5, "end") for value in (None, 3, ["Paris."], pairs)]
    for value, num_tokens, ending in (*odd, ("Paris.", "5", "end"), ("Paris.", 5, "over"), ("Paris.", 5, ["end"])):
        path.write_text(json.dumps([prompt, value, num_tokens, ending]) + "\n")
        assert Answers(tmp_path, {}).of(Batch([PROMPT])) is None


def test_most_probable_tokens_are_kept_and_damaged_ones_asked_again(tmp_path):
    batch, answers = Batch([FirstTokens((1, 2), 2)]), [Answer([[7, -0.1], [5, -2.5]], 3)]
    Answers(tmp_path, {}).add(batch, answers)
    assert Answers(tmp_path, {}).of(batch) == answers
    key = json.loads((tmp_path / ANSWERS_FILE).read_text())[0]
    for value in ([], "x", [[7]], [["7", -0.1]], [[7, None]], [[True, -0.1]], [[7, float("nan")]]):
        (tmp_path / ANSWERS_FILE).write_text(json.dumps([key, value, 3, None]) + "\n")
        assert Answers(tmp_path, {}).of(batch) is None, value


def test_a_run_resumes_over_damaged_answers(evaluate, config_of, asked):
    _, out = evaluate("gsm8k", batch_size=2)
    whole, num_asked = items(out), len(asked)
    (out / ANSWERS_FILE).write_bytes(b'[1]\n{"a": 2}\n\xff\xfe\nnull\n["key", "text"]\n["half')
    asked.clear()
    _, out = evaluate("gsm8k", batch_size=2)
    assert len(asked) == num_asked and items(out) == whole
