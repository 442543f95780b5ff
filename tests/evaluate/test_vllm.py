"""vLLM's answers are transformers' answers. Real vLLM runs where SELECTIT_VLLM_PYTHON names a Python that has it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from pydantic import ValidationError
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config.evaluate import EvaluateConfig
from selectit.errors import UserError
from selectit.evaluate import stage
from selectit.evaluate.model import vllm_lm
from selectit.evaluate.model.answers import ANSWERS_FILE, Answers
from selectit.evaluate.model.load import forget_lm, load_lm
from selectit.evaluate.model.weights import Weights
from selectit.inference.batch import Batch
from selectit.inference.load import load_model
from selectit.inference.requests import FirstTokens, Generation, GenerationSettings, Likelihood
from selectit.inference.vllm_answerer import VllmAnswerer, batches

PYTHON = os.environ.get("SELECTIT_VLLM_PYTHON")
with_vllm = pytest.mark.skipif(PYTHON is None, reason="SELECTIT_VLLM_PYTHON names no Python with vLLM")


def test_a_setting_that_the_backend_would_not_read_is_refused():
    assert EvaluateConfig(backend="vllm", vllm_python="~/vllm/bin/python").vllm_python == "~/vllm/bin/python"
    with pytest.raises(ValidationError, match="set backend: vllm"):
        EvaluateConfig(vllm_python="~/vllm/bin/python")
    with pytest.raises(ValidationError, match="num_processes is for backend transformers"):
        EvaluateConfig(backend="vllm", num_processes=2)


@pytest.mark.parametrize(
    ("python", "says"),
    [
        (None, f"{sys.executable} has no vLLM; name an interpreter that has it"),
        (sys.executable, "pip install vllm, and then vllm_python ~/vllm/bin/python"),
        ("/nowhere/python", "/nowhere/python cannot be started"),
    ],
)
def test_a_python_without_vllm_is_found_out_before_anything_runs(config_of, python, says):
    with pytest.raises(UserError) as refused:
        stage.preflight(config_of("mmlu", backend="vllm", vllm_python=python))
    assert says in str(refused.value)


def test_a_folder_named_vllm_is_not_taken_for_the_package(config_of, tmp_path, monkeypatch):
    (tmp_path / "vllm").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="has no vLLM"):
        stage.preflight(config_of("mmlu", backend="vllm"))


def test_a_limit_on_memory_that_vllm_does_not_have_is_refused(config_of, demo_model):
    limited = demo_model.model_copy(update={"device_map": "auto", "max_memory": "1GB"})
    with pytest.raises(UserError, match=r"max_memory 1GB is for evaluate\.backend transformers"):
        stage.preflight(config_of("mmlu", backend="vllm", model=limited))


def test_the_command_line_takes_the_backend_and_its_python(demo_model, demo_data, tmp_path):
    command = ["evaluate", "--model", demo_model.path, "--data", str(demo_data), "--out", str(tmp_path / "out")]
    command += ["--profile", "miniature", "--benchmarks", "mmlu", "--backend", "vllm"]
    refused = CliRunner().invoke(app, [*command, "--vllm-python", "/nowhere/python"])
    assert "/nowhere/python cannot be started" in f"{refused.output}{refused.exception}"


# What is on this side of the socket, tested against an engine of plain transformers at the other.


class PlainEngine:
    """Says what vLLM says, a token at a time and a step at a time."""

    version, dtype, device = "0", "float32", "cpu"

    def __init__(self, model):
        self.model, self.rows, self.num_steps, self.closed = model, {}, 0, False

    def ask(self, method, **arguments):
        return getattr(self, method)(**arguments)

    @torch.no_grad()
    def next_of(self, row):
        return self.model(torch.tensor([row])).logits[0, -1].log_softmax(-1)

    def next_of_each(self, rows, token_ids):
        found = [self.next_of(row) for row in rows]
        return [(int(p.argmax()), p[tokens].tolist()) for p, tokens in zip(found, token_ids, strict=True)]

    def top_of_each(self, rows, most):
        top = [self.next_of(row).topk(most) for row in rows]
        return [list(zip(tokens.tolist(), values.tolist(), strict=True)) for values, tokens in top]

    def start_generating(self, rows, seeds, max_tokens, temperature, top_p, stop_token_ids):
        assert seeds == [None] * len(rows) and temperature == 0
        self.rows = {number: (list(row), max_tokens) for number, row in enumerate(rows)}
        self.ends = stop_token_ids

    def generate_on(self, stopped, num_steps):
        for number in stopped:
            del self.rows[number]
        new = {}
        for number, (row, left) in list(self.rows.items()):
            tokens = []
            while len(tokens) < min(num_steps, left) and not (tokens and tokens[-1] in self.ends):
                tokens.append(int(self.next_of([*row, *tokens]).argmax()))
                self.num_steps += 1
            ended = len(tokens) == left or tokens[-1] in self.ends
            new[number] = (tokens, ended, True)
            self.rows[number] = ([*row, *tokens], left - len(tokens))
            if ended:
                del self.rows[number]
        return new

    def close(self):
        self.closed = True


@pytest.fixture
def ours(demo_model):
    """What lm-eval asks, with transformers."""
    return load_lm(demo_model, Weights())


def prompts(lm):
    texts = ["Question: what is 3 + 4?\nAnswer:", "Tom has 5 apples.", "The answer is", "def add(a, b):\n"]
    return [tuple(lm.tok_encode(text)) for text in texts]


def greedy_requests(lm):
    """With stop strings that are met early, late, never, one inside of another, and with more than one row each."""
    stops = [("</s>",), ("\n",), (" a", "\n\n"), ("e", "re the"), (".", "</s>"), ()]
    settings = [GenerationSettings(stop, new, ends=(2,)) for stop in stops for new in (5, 40)]
    return [Generation(ids, one) for one in settings for ids in prompts(lm)]


def likelihood_requests(lm):
    """Choices of one token and of several, of unequal lengths, and a row that fills the context."""
    rows = [ids + ids for ids in prompts(lm)]
    asked = [Likelihood(ids, ((7,), (9,), (400,))) for ids in rows]
    asked += [Likelihood(ids, ((*ids[-3:], 11), (11,), (ids[-1], 500))) for ids in rows]
    full = (rows[0] * lm.max_length)[: lm.max_length]
    return [*asked, Likelihood(full, ((5,), (*full[-2:], 6)))]


def first_token_requests(lm):
    return [FirstTokens(ids, 10) for ids in prompts(lm)]


def assert_same_first_tokens(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert [token for token, _ in one.value] == [token for token, _ in other.value] and len(one.value) == 10
        values = [[value for _, value in answer.value] for answer in (one, other)]
        assert values[0] == pytest.approx(values[1], abs=1e-4)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(one.value, str):
            assert (one.value, one.ending) == (other.value, other.ending)
        else:
            for (a, is_greedy), (b, is_greedy_there) in zip(one.value, other.value, strict=True):
                assert a == pytest.approx(b, abs=1e-4) and is_greedy == is_greedy_there


def answer_all(answer, requests):
    """{request: its answer}"""
    return {r: a for batch in batches(requests, 8) for r, a in zip(batch.items, answer(batch), strict=True)}


def transformers_answers(lm, requests):
    return [answer for request in requests for answer in lm.answerer.answer(Batch([request]))]


def with_greedy(lm, requests):
    """Each request with the most likely token as one more continuation."""
    engine = PlainEngine(lm.model)
    reported = engine.next_of_each([list(one.ids) for one in requests], [[0]] * len(requests))
    return [Likelihood(r.ids, (*r.continuations, (best,))) for r, (best, _) in zip(requests, reported, strict=True)]


def test_requests_become_questions_whose_answers_are_transformers_own(ours):
    engine = PlainEngine(ours.model)
    answerer = VllmAnswerer(lambda: engine, ours.tok_decode, "demo")
    asked = with_greedy(ours, likelihood_requests(ours)[:-1])
    found = answer_all(answerer.answer, asked)
    assert_same([found[request] for request in asked], transformers_answers(ours, asked))
    assert any(is_greedy for answer in found.values() for _, is_greedy in answer.value)

    generated = greedy_requests(ours)
    found = answer_all(answerer.answer, generated)
    assert_same([found[request] for request in generated], transformers_answers(ours, generated))
    assert engine.num_steps < sum(request.settings.max_new_tokens for request in generated), "stop strings end rows"

    first = first_token_requests(ours)
    found = answer_all(answerer.answer, first)
    assert_same_first_tokens([found[request] for request in first], transformers_answers(ours, first))


def test_an_engine_that_fails_is_closed_and_another_started_for_the_next_benchmark(ours):
    engines = []

    def start():
        engines.append(PlainEngine(ours.model))
        return engines[-1]

    answerer = VllmAnswerer(start, ours.tok_decode, "demo")
    engines[0].next_of = lambda row: (_ for _ in ()).throw(UserError("vLLM was killed"))
    batch = Batch([Likelihood((1, 5), ((7,),))])
    with pytest.raises(UserError, match="killed"):
        answerer.answer(batch)
    assert engines[0].closed and answerer.answer(batch) and len(engines) == 2


def test_batches_hold_equal_settings_and_rows_that_start_alike_together():
    short, long = GenerationSettings(("\n",), 8), GenerationSettings(("\n",), 16)
    rows = [(1, 2, 3), (9, 9), (1, 2, 4), (9, 8)]
    requests = [Generation(ids, one) for ids in rows for one in (short, long)] + [Likelihood((1,), ((2,),))]
    made = batches(requests, 3)
    assert sorted(map(len, (b.items for b in made))) == [1, 1, 1, 3, 3]
    assert all(len({request.settings for request in batch.items}) == 1 for batch in made)
    assert [request.ids for request in made[0].items] == [(1, 2, 3), (1, 2, 4), (9, 8)]
    assert sorted(map(repr, requests)) == sorted(repr(request) for batch in made for request in batch.items)


# Real vLLM. Its engine takes long to start, so tests of the same model follow each other.


@pytest.fixture
def theirs(demo_model):
    return load_lm(demo_model, Weights(), "vllm", PYTHON)


def items(out):
    return [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


def both(evaluate, name, **fields):
    """The items of a benchmark by transformers and by vLLM, and vLLM's result."""
    _, out = evaluate(name, **fields)
    ours = items(out)
    (out / "items.jsonl").unlink()
    _, out = evaluate(name, **fields, backend="vllm", vllm_python=PYTHON)
    return ours, items(out), json.loads((out / "result.json").read_text())


def assert_equal_items(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert {**one, "outputs": None} == {**other, "outputs": None}, "choices, texts, scores"
        if isinstance(one["outputs"][0], str):
            assert one["outputs"] == other["outputs"]
        else:
            assert one["outputs"] == pytest.approx(other["outputs"], abs=1e-4)


@with_vllm
@pytest.mark.parametrize("name", ["mmlu", "gsm8k"])
def test_items_are_those_of_transformers(evaluate, name):
    ours, theirs, result = both(evaluate, name)
    assert_equal_items(ours, theirs)
    model = result["model"]
    assert model["backend"] == "vllm" and model["vllm_version"] and model["dtype"] == "float32"
    assert model["num_parameters"] == 1066112 and model["context_tokens"] == 4096 and not model["adapter"]


@with_vllm
def test_every_kind_of_request_is_answered_as_by_transformers(demo_model):
    lm = load_lm(demo_model, Weights())
    asked = [*with_greedy(lm, likelihood_requests(lm)), *greedy_requests(lm)]
    expected = transformers_answers(lm, asked)
    theirs = load_lm(demo_model, Weights(), "vllm", PYTHON)
    found = answer_all(theirs._vllm.answer, asked)
    assert_same([found[request] for request in asked], expected)
    first = first_token_requests(lm)
    expected, found = transformers_answers(lm, first), answer_all(theirs._vllm.answer, first)
    assert_same_first_tokens([found[request] for request in first], expected)


@with_vllm
def test_samples_belong_to_a_seed_and_a_number_and_not_to_their_company(theirs):
    def samples(seed, size):
        settings = GenerationSettings(("\n\n",), 24, temperature=0.8, top_p=0.95, seed=seed)
        asked = [Generation(ids, settings, number) for ids in prompts(theirs) for number in range(4)]
        found = {r: a.value for b in batches(asked, size) for r, a in zip(b.items, theirs._vllm.answer(b), strict=True)}
        return [found[request] for request in asked]

    once = samples(seed=1, size=16)
    assert samples(seed=1, size=3) == once
    assert samples(seed=2, size=16) != once and len(set(once)) > len(once) // 2


@with_vllm
def test_a_run_that_was_interrupted_asks_only_what_is_missing(evaluate, monkeypatch):
    fields = {"backend": "vllm", "vllm_python": PYTHON, "batch_size": 3}
    asked = []
    answer = VllmAnswerer.answer
    monkeypatch.setattr(VllmAnswerer, "answer", lambda self, batch: asked.extend(batch.items) or answer(self, batch))
    _, out = evaluate("gsm8k", **fields)
    whole, num_asked = items(out), len(asked)
    asked.clear()
    add = Answers.add

    def stop_at_second(self, batch, answers):
        add(self, batch, answers)
        if len(self._found) >= 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Answers, "add", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            evaluate("gsm8k", **fields)
    assert len(asked) == 6 < num_asked and (out / ANSWERS_FILE).read_text().count("\n") == 6
    _, out = evaluate("gsm8k", **fields)
    assert len(asked) == num_asked and items(out) == whole


@with_vllm
def test_an_engine_whose_process_is_killed_is_reported_leaves_nothing_behind_and_is_started_again(theirs):
    batch = Batch([Likelihood(prompts(theirs)[0], ((7,),))])
    before = theirs._vllm.answer(batch)
    worker = psutil.Process(theirs._vllm._engine._process.pid)
    family = worker.children(recursive=True)
    core = next(child for child in worker.children() if "EngineCore" in " ".join([child.name(), *child.cmdline()]))
    core.kill()
    with pytest.raises(UserError, match="killed, most likely for memory"):
        theirs._vllm.answer(batch)
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert_same(theirs._vllm.answer(batch), before)


@with_vllm
def test_an_adapter_answers_as_with_transformers_and_its_merged_copy_is_deleted(evaluate, adapter, demo_model):
    for name in ("gsm8k", "mmlu"):
        ours, theirs, result = both(evaluate, name, inputs={"model": adapter}, limit=4)
        assert_equal_items(ours, theirs)
        assert result["model"]["adapter"] is True
    weights = stage.find_weights(adapter, None)
    merged = Path(load_lm(demo_model, weights, "vllm", PYTHON)._merged.name)
    assert (merged / "model" / "config.json").is_file()
    forget_lm()
    assert not merged.exists()


@with_vllm
def test_a_fully_tuned_checkpoint_answers_as_with_transformers(evaluate, full_checkpoint):
    ours, theirs, result = both(evaluate, "mmlu", inputs={"model": full_checkpoint}, limit=4)
    assert_equal_items(ours, theirs)
    assert result["model"]["adapter"] is False


def test_an_adapter_that_no_weights_can_take_in_is_refused(demo_model, tmp_path):
    config = PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")
    get_peft_model(load_model(demo_model), config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"evaluate this one with evaluate\.backend=transformers"):
        load_lm(demo_model, Weights(adapter=str(tmp_path)), "vllm", PYTHON)


def test_an_adapter_that_changes_nothing_is_refused_before_vllm_is_started(demo_model, untrained_adapter, monkeypatch):
    monkeypatch.setattr(vllm_lm, "VllmEngine", lambda *arguments: pytest.fail("it was started"))
    with pytest.raises(UserError, match="changes nothing"):
        load_lm(demo_model, stage.find_weights(untrained_adapter, None), "vllm", PYTHON)
