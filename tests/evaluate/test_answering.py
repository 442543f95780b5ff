"""What a model answers is what lm-eval's own Hugging Face model says, whatever is shared, batched or spread out."""

from __future__ import annotations

import functools
import os
import random
from dataclasses import replace

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from selectit.errors import UserError
from selectit.evaluate.benchmarks.questions import ask, load_questions
from selectit.evaluate.model.harness import quiet
from selectit.evaluate.model.lm import IF_KILLED, EvaluatedLM
from selectit.evaluate.model.load import answering, load_answerer
from selectit.evaluate.model.weights import Weights
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference.answerer import Answerer
from selectit.inference.batch import Batch, Limits
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.request_batches import ByPrefix, plan
from selectit.inference.requests import Generation, GenerationSettings, Likelihood
from selectit.inference.workers import Workers

SMALL = {
    "vocab_size": 2048, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
SHOTS = " ".join(f"Question {n}: is {n} even? Answer: {'no' if n % 2 else 'yes'}." for n in range(12))
GREEDY = GenerationSettings(stop=("</s>",), max_new_tokens=8, ends=(2,))


def build(model_class, config):
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():  # large enough weights that attention and position matter to the answer
        for parameter in model.parameters():
            parameter.normal_(std=0.25) if parameter.dim() > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def llama(**settings):
    return build(LlamaForCausalLM, LlamaConfig(**{**SMALL, **settings}))


def adapted(config):
    torch.manual_seed(1)
    return get_peft_model(llama(), config).eval()


MODELS = {
    "llama": llama,
    "gpt2": lambda: build(
        GPT2LMHeadModel, GPT2Config(vocab_size=2048, n_embd=32, n_layer=2, n_head=4, n_positions=512)
    ),
    "bloom": lambda: build(BloomForCausalLM, BloomConfig(vocab_size=2048, hidden_size=32, n_layer=2, n_head=4)),
    "sliding window": lambda: build(MistralForCausalLM, MistralConfig(**SMALL, sliding_window=32)),
    "dynamic rope": lambda: llama(
        max_position_embeddings=128, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    ),
    "adapter": lambda: adapted(
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    ),
    "learned prompt": lambda: adapted(PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")),
}
SHARING = ("llama", "gpt2", "bloom", "adapter")


class StockLM(HFLM):
    """lm-eval's own, with our decoding, which keeps a leading space."""

    tok_decode = EvaluatedLM.tok_decode

    def __init__(self, model, tokenizer, batch_size):
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        self._anchor = self.tok_encode("a", add_special_tokens=False)


@pytest.fixture
def both(demo_model, demo_data, tmp_path):
    """both(model) -> (lm-eval's own model, ours)."""

    def make(model, name="gsm8k", batch_size=4, **fields):
        benchmark = load_profile("miniature").benchmarks[name]
        config = EvaluateStage(
            model=demo_model,
            benchmark=benchmark,
            data=str(demo_data),
            template="alpaca",
            batch_size=batch_size,
            **fields,
        )
        with quiet():
            tokenizer = load_tokenizer(demo_model)
            stock, ours = StockLM(model, tokenizer, 4), EvaluatedLM(model, tokenizer)
        ours.use(config, None, tmp_path)
        return stock, ours, config

    return make


def instances(kind, arguments):
    return [Instance(kind, {}, pair, number) for number, pair in enumerate(arguments)]


def likelihood_requests():
    """Choices of one token and of several, with and without what others start with, empty and over-long contexts."""
    contexts = [f"{SHOTS} Question {n}: is {n} even? Answer:" for n in (12, 13, 14, 15)] + ["", "Hello", SHOTS * 4]
    continuations = [" yes", " no", " A", " perhaps it is even", "\n"]
    pairs = [(context, continuation) for context in contexts for continuation in continuations]
    return instances("loglikelihood", random.Random(0).sample(pairs, len(pairs)))


@pytest.mark.parametrize("name", MODELS)
def test_log_likelihoods_are_those_of_lm_eval(both, name):
    stock, ours, _ = both(MODELS[name]())
    if name in ("sliding window", "dynamic rope"):
        stock.batch_size_per_gpu = 1  # the frequencies of a padded batch are those of its longest text
    requests = likelihood_requests()
    if name == "dynamic rope":
        requests = requests[:8]
    expected, found = stock.loglikelihood(requests), ours.loglikelihood(requests)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert ours.answerer.shares == (name in SHARING)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_texts_are_those_of_lm_eval(both, name):
    alone = name in ("dynamic rope", "learned prompt")  # here padding has an effect, in lm-eval as in ours
    stock, ours, _ = both(MODELS[name](), batch_size=1 if alone else 4)
    if alone:
        stock.batch_size_per_gpu = 1
    settings = {"do_sample": False, "until": ["\n\n", "e"], "max_gen_toks": 12}
    prompts = [f"{SHOTS} Question {n}: is {'it' * (n % 5)} {n} even? Answer:" for n in range(12, 20)]
    requests = instances("generate_until", [(prompt, settings) for prompt in [*prompts, "Hello", prompts[0], "Hello"]])
    assert ours.generate_until(requests) == stock.generate_until(requests)


@pytest.mark.parametrize("name", ["mmlu", "bbh", "gsm8k", "tydiqa"])
def test_benchmarks_have_the_answers_of_lm_eval(both, demo_model, name):
    stock, ours, config = both(load_model(demo_model), name, limit=3)
    questions = load_questions(config)
    expected, found = (ask(lm, questions, config, lambda _: None) for lm in (stock, ours))
    for task, samples in expected["samples"].items():
        for one, other in zip(samples, found["samples"][task], strict=True):
            assert one["arguments"] == other["arguments"]
            if name != "mmlu":
                assert one["resps"] == other["resps"]
                continue
            for (a,), (b,) in zip(one["resps"], other["resps"], strict=True):
                assert a[1] == b[1] and a[0] == pytest.approx(b[0], abs=1e-4)
    assert found["results"] == expected["results"]


def test_mmlu_reads_the_examples_of_a_subject_once_and_each_question_once(both, demo_model, monkeypatch):
    _, ours, config = both(load_model(demo_model), "mmlu", limit=8)
    read = []
    forward = LlamaForCausalLM.forward

    def counting(self, *args, **kwargs):
        read.append(kwargs["input_ids"].numel())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counting)
    questions = load_questions(config)
    found = ask(ours, questions, config, lambda _: None)
    prompts = [s["arguments"][0][0] for samples in found["samples"].values() for s in samples]
    assert sum(read) < 0.4 * sum(len(ours.tok_encode(prompt)) for prompt in prompts)


LIMITS = Limits(rows=4, tokens=100, cached_tokens=1000, shared_tokens=5, step_tokens=1)


def row(*ids, **fields):
    return Likelihood(tuple(ids), ((1,), (2,)), **fields)


def test_rows_are_grouped_so_that_most_tokens_are_saved():
    header, physics, law = (9,) * 3, (9,) * 3 + (1,) * 20, (9,) * 3 + (2,) * 20
    rows = [row(*physics, 5, n) for n in range(3)] + [row(*law, n, n) for n in range(6)] + [row(*header, 7), row(8, 8)]
    random.Random(0).shuffle(rows)
    batches = plan(rows, LIMITS, share=True)
    assert {batch.prefix for batch in batches} == {(*physics, 5), law, ()}
    assert sorted(r.ids for batch in batches for r in batch.items) == sorted(r.ids for r in rows)
    assert [len(batch.items) for batch in batches if batch.prefix == law] == [3, 3]
    assert {batch.prefix for batch in plan(rows, LIMITS, share=False)} == {()}


def test_prompts_are_grouped_only_where_that_is_worth_the_batches_that_are_not_full():
    settings = GenerationSettings(("x",), max_new_tokens=30)
    few, many = ([Generation((*[start] * 20, n), settings) for n in range(size)] for start, size in ((1, 2), (2, 8)))
    batches = plan([*few, *many], LIMITS, share=True)
    assert [(batch.prefix, len(batch.items)) for batch in batches] == [((2,) * 20, 4), ((2,) * 20, 4), ((), 2)]
    batches = plan([*few, *many], replace(LIMITS, step_tokens=0), share=True)
    assert {batch.prefix for batch in batches} == {(1,) * 20, (2,) * 20}


def test_a_prefix_leaves_every_row_the_positions_that_are_scored():
    rows = [row(*[3] * 30), row(*[3] * 30, 4), Likelihood((*[3] * 30, 4, 5, 6), ((4, 5, 6, 7),))]
    for batch in plan(rows, LIMITS, share=True):
        assert all(len(batch.prefix) + r.num_open <= len(r.ids) for r in batch.items)


def test_batches_keep_within_the_limits():
    rows = [row(*random.Random(n).choices(range(50), k=n)) for n in range(1, 90)]
    for batch in plan(rows, LIMITS, share=True):
        longest = max(len(r.ids) for r in batch.items) - len(batch.prefix)
        assert len(batch.items) == 1 or len(batch.items) * longest <= LIMITS.tokens
    prompts = [Generation(r.ids, GenerationSettings(("x",), 400)) for r in rows]
    assert max(len(batch.items) for batch in plan(prompts, LIMITS, share=True)) == 2


class OutOfMemory:
    """A model that cannot read more than so many rows at once."""

    def __init__(self, answerer, error, most):
        self._answer, self._error, self._most, self.rows = answerer._answer, error, most, []

    def __call__(self, batch):
        self.rows.append(len(batch.items))
        if len(batch.items) > self._most:
            raise self._error
        return self._answer(batch)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(both, monkeypatch, error):
    _, ours, _ = both(llama())
    requests = [row(*range(10, 30), n, 7) for n in range(16)]
    batch = Batch(requests, tuple(range(10, 30)))
    whole = ours.answerer.answer(batch)
    failing = OutOfMemory(ours.answerer, error, most=4)
    monkeypatch.setattr(ours.answerer, "_answer", failing)
    halved = ours.answerer.answer(batch)
    assert failing.rows == [16, 8, 4, 4, 4, 4]
    for one, other in zip(whole, halved, strict=True):
        assert [v for v, _ in one.value] == pytest.approx([v for v, _ in other.value], abs=1e-5)
    failing._most = 0
    with pytest.raises(UserError, match="a prompt of 22 tokens does not fit into memory, not even alone"):
        ours.answerer.answer(batch)


def test_a_fault_that_is_not_of_memory_is_not_halved_away(both, monkeypatch):
    _, ours, _ = both(llama())
    failing = OutOfMemory(ours.answerer, RuntimeError("shape mismatch"), most=0)
    monkeypatch.setattr(ours.answerer, "_answer", failing)
    with pytest.raises(RuntimeError, match="shape"):
        ours.answerer.answer(Batch([row(1, 2, n) for n in range(4)]))
    assert failing.rows == [4]


def test_each_row_ends_with_its_own_stop_string(both, monkeypatch):
    """lm-eval's criterion waits until all rows of a batch hold the same one."""
    stock, ours, _ = both(llama())
    steps = []
    forward = LlamaForCausalLM.forward
    monkeypatch.setattr(LlamaForCausalLM, "forward", lambda self, *a, **kw: steps.append(1) or forward(self, *a, **kw))
    prompts = [f"{SHOTS} {n}" for n in range(4)]
    free = {"do_sample": False, "until": [], "max_gen_toks": 40}
    texts = ours.generate_until(instances("generate_until", [(prompt, free) for prompt in prompts]))
    stops = list(dict.fromkeys(text[len(text) // 4] for text in texts))
    assert len(stops) > 1
    requests = instances("generate_until", [(prompt, {**free, "until": stops}) for prompt in prompts])
    steps.clear()
    found = ours.generate_until(requests)
    assert len(steps) < 35 and found == stock.generate_until(requests)


def some_batches():
    rows = [row(*range(40), n, 7) for n in range(9)] + [row(*range(50, 90), n, 7) for n in range(9)]
    prompts = [Generation((*range(40), n), GREEDY) for n in range(6)]
    return plan([*rows, *prompts], Limits(2, 1000, 10000, 5, 1), share=True)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_give_the_answers_of_one(demo_model, start):
    alone, batches = load_answerer(demo_model, Weights(), 0), some_batches()
    workers = Workers(functools.partial(answering, demo_model, Weights()), 2, start, "killed")
    try:
        for _ in range(2):  # they stay for the next benchmark
            found = {id(batch): answers for batch, answers in workers.run(ByPrefix(batches).take)}
            assert [found[id(batch)] for batch in batches] == [alone.answer(batch) for batch in batches]
    finally:
        workers.close()


def test_a_process_that_dies_or_raises_is_an_error_that_reports_it(demo_model):
    class Dying:
        def answer(self, batch):
            os._exit(9)

    class Raising:
        def answer(self, batch):
            raise ValueError("no such token")

    for made, error, message in ((Dying(), RuntimeError, "num_processes=1"), (Raising(), ValueError, "no such token")):
        workers = Workers(lambda number, made=made: made.answer, 2, "fork", IF_KILLED)
        with pytest.raises(error, match=message):
            list(workers.run(ByPrefix(some_batches()).take))
        assert not workers.open


def test_an_answerer_needs_no_lm_eval_to_be_asked(demo_model):
    answerer = load_answerer(demo_model, Weights(), 0)
    assert isinstance(answerer, Answerer)
    (answer,) = answerer.answer(Batch([Generation(tuple(range(20)), GREEDY)]))
    assert isinstance(answer.value, str) and 20 < answer.num_tokens <= 28
