"""Answers end at the end tokens of checkpoint, tokenizer and chat template, at stop strings, or at the limit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.evaluate.model.answers import ANSWERS_FILE, Answers
from selectit.evaluate.model.ends import end_token_ids, split_stops, turn_end_ids
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.load import forget_lm, load_lm
from selectit.evaluate.model.weights import Weights
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference import generation
from selectit.inference.answer_end import AnswerEnd
from selectit.inference.batch import Batch
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.requests import Answer, Generation, GenerationSettings
from selectit.inference.vllm_answerer import VllmAnswerer, batches
from selectit.templates import chat_template

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def tokenizer_of(special, eos, bos=None, template=None, appends=(), plain=()):
    """One token per byte, and special tokens; `plain` ones are added and not special."""
    built = Tokenizer(BPE({token: number for number, token in enumerate(ALPHABET)}, []))
    built.pre_tokenizer, built.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    built.add_special_tokens(list(special))
    built.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    if appends:
        built.post_processor = processors.TemplateProcessing(
            single=f"{f'{bos} ' if bos else ''}$A {' '.join(appends)}",
            special_tokens=[(token, built.token_to_id(token)) for token in {*appends, *([bos] if bos else [])}],
        )
    found = PreTrainedTokenizerFast(tokenizer_object=built, eos_token=eos, bos_token=bos)
    found.chat_template = template
    return found


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
GLM = "[gMASK]{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
)
THINKING = CHATML.replace(
    "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
)
VICUNA = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
ONE_TURN = "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}" + CHATML
STYLES = {
    # special tokens, tokenizer's end token, template, eos_token_id of the checkpoint -> what ends an answer
    "ChatML": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|endoftext|>", CHATML, None,
               {"<|endoftext|>", "<|im_end|>"}),
    "ChatML, thinking": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|endoftext|>", THINKING, None,
                         {"<|endoftext|>", "<|im_end|>"}),
    "ChatML, one turn": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|endoftext|>", ONE_TURN, None,
                         {"<|endoftext|>", "<|im_end|>"}),
    "llama 3": (["<s>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
                "<|end_of_text|>", LLAMA3, ["<|eom_id|>"], {"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"}),
    "gemma": (["<s>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "<eos>", GEMMA, None, {"<eos>", "<end_of_turn>"}),
    "mistral": (["<s>", "</s>"], "</s>", MISTRAL, None, {"</s>"}),
    "llama 2": (["<s>", "</s>"], "</s>", LLAMA2, ["</s>"], {"</s>"}),
    "GLM": (["<|endoftext|>", "<|user|>", "<|assistant|>"], "<|endoftext|>", GLM, None, {"<|endoftext|>", "<|user|>"}),
    "harmony": (["<|endoftext|>", "<|start|>", "<|message|>", "<|end|>", "<|return|>"], "<|endoftext|>", HARMONY, None,
                {"<|endoftext|>", "<|end|>", "<|return|>"}),
    "words": (["<s>", "</s>"], "</s>", VICUNA, None, {"</s>"}),
    "none": (["<s>", "</s>", "<other>"], "</s>", None, ["<other>"], {"</s>", "<other>"}),
    "alpaca": (["<s>", "</s>"], "</s>", chat_template("alpaca"), None, {"</s>"}),
    "llmzoo": (["<s>", "</s>"], "</s>", chat_template("llmzoo"), None, {"</s>"}),
}  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
def test_the_ends_are_those_of_checkpoint_tokenizer_and_template(name):
    special, eos, template, saved, wanted = STYLES[name]
    tokenizer = tokenizer_of(special, eos, bos="<s>" if "<s>" in special else None)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in saved or ()]
    found = end_token_ids(tokenizer, ids or None, template)
    assert set(tokenizer.convert_ids_to_tokens(list(found))) == wanted
    if ids:
        assert end_token_ids(tokenizer, ids[0], template) == found


def test_a_token_that_is_added_but_not_special_ends_a_turn_too():
    tokenizer = tokenizer_of(["<|endoftext|>"], "<|endoftext|>", plain=["<|im_start|>", "<|im_end|>"])
    assert tokenizer.convert_ids_to_tokens(list(turn_end_ids(tokenizer, CHATML))) == ["<|im_end|>"]


def test_a_template_that_takes_no_answer_has_no_end_of_turn():
    refusing = "{{ raise_exception('never') }}"
    tokenizer = tokenizer_of(["</s>"], "</s>")
    assert turn_end_ids(tokenizer, refusing) == turn_end_ids(tokenizer, "{{ messages[0].content }}") == set()


# The end of an answer, read out of its tokens


@pytest.fixture
def chatml():
    return tokenizer_of(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|endoftext|>", template=CHATML)


def reader(tokenizer, stop=(), limit=99):
    def decode(tokens, skip_special_tokens=True):
        return tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    alone, marked = split_stops(stop, tokenizer)
    ends = end_token_ids(tokenizer, None, tokenizer.chat_template)
    return AnswerEnd(decode, GenerationSettings(tuple(stop), limit, ends=ends, stop_ids=alone, marked_stop=marked))


WRITTEN = {
    "an end token": ("Paris.<|im_end|>\n<|im_start|>user", (), ("Paris.", "end")),
    "the tokenizer's": ("Paris.<|endoftext|>More", (), ("Paris.", "end")),
    "nothing": ("<|im_end|>", (), ("", "end")),
    "at the limit": ("Paris.", (), ("Paris.", "limit")),
    "a stop string": ("Paris.\n\nNext<|im_end|>", ("\n\n",), ("Paris.", "stop")),
    "a stop string of many tokens": ("Paris. Question: x", ("Question:",), ("Paris. ", "stop")),
    "the first of several": ("a b c", ("c", "b"), ("a ", "stop")),
    "a stop string that is an end token": ("Paris.<|im_end|>\n", ("<|im_end|>",), ("Paris.", "end")),
    "a stop string that is a special token": ("Paris.<|im_start|>user", ("<|im_start|>",), ("Paris.", "stop")),
    "a special token and more": ("Paris.<|im_start|>user\nyes", ("<|im_start|>user",), ("Paris.", "stop")),
    "more and a special token": ("Paris.\n<|im_start|>user", ("s.\n<|im_start|>",), ("Pari", "stop")),
    "not the whole of it": ("Paris.<|im_start|>u", ("<|im_start|>user",), ("Paris.u", "limit")),
    "inside of a special token": ("Paris<|im_start|> it is", ("start", "im_"), ("Paris it is", "limit")),
    "after the end": ("Paris.<|im_end|>\n\n", ("\n\n",), ("Paris.", "end")),
    "written out": ("Paris.< | im_end|>", ("im_end",), ("Paris.< | ", "stop")),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_end_and_its_kind_are_read_from_tokens(chatml, name):
    text, stop, wanted = WRITTEN[name]
    end = reader(chatml, stop)
    tokens = chatml.encode(text, add_special_tokens=False)
    ended = end.read(tokens)
    assert (ended.text, ended.ending) == wanted
    # where a backend stops is what is read, whatever follows
    first = next(
        (n for n in range(1, len(tokens) + 1) if end.is_end(tokens[n - 1]) or end.holds_stop(tokens[:n])), None
    )
    assert (first is None) == (wanted[1] == "limit")
    if first is not None:
        assert (end.read(tokens[:first]).text, end.read(tokens[:first]).ending) == wanted


# Whole models: what they write is given, the rest is the product's


class Scripted:
    """A model whose next token follows from the prompt's last byte: it writes one of the texts, a token at a time."""

    def __init__(self, monkeypatch, tokenizer, texts):
        self.tokenizer, self.scripts = tokenizer, {key: tokenizer.encode(text) for key, text in texts.items()}
        monkeypatch.setattr(generation, "_RefuseNotFinite", lambda model: self)

    def next_of(self, ids):
        start = max(at for at, token in enumerate(ids) if token in self.starts) + 1
        script = self.scripts[self.tokenizer.decode(ids[start - 2 : start - 1])]
        written = len(ids) - start
        return script[written] if written < len(script) else script[-1]

    @property
    def starts(self):
        return self.tokenizer.encode(">", add_special_tokens=False)

    def __call__(self, input_ids, scores):
        forced = torch.full_like(scores, -100.0)
        for row, ids in enumerate(input_ids.tolist()):
            forced[row, self.next_of(ids)] = 0.0
        return forced


class ScriptedEngine:
    """The same at the other end of vLLM's socket."""

    version, dtype, device = "0", "float32", "cpu"

    def __init__(self, scripted, finite=True):
        self.scripted, self.finite = scripted, finite

    def ask(self, method, **arguments):
        return getattr(self, method)(**arguments)

    def start_generating(self, rows, max_tokens, stop_token_ids, **settings):
        self.rows = {number: (list(row), max_tokens) for number, row in enumerate(rows)}
        self.ends = stop_token_ids

    def generate_on(self, stopped, num_steps):
        for number in stopped:
            del self.rows[number]
        found = {}
        for number, (row, left) in list(self.rows.items()):
            tokens = []
            while len(tokens) < min(num_steps, left) and not (tokens and tokens[-1] in self.ends):
                tokens.append(self.scripted.next_of([*row, *tokens]))
            ended = len(tokens) == left or tokens[-1] in self.ends
            found[number] = (tokens, ended, self.finite)
            self.rows[number] = ([*row, *tokens], left - len(tokens))
            if ended:
                del self.rows[number]
        return found

    def close(self):
        pass


TEXTS = {
    "a": "The capital of France is Paris.<|im_end|>\n<|im_start|>user\nI'm planning",
    "b": "It is 4\n\nQuestion",
    "c": "long " * 40,
    "d": "fine.<|endoftext|>",
    "e": "12345678901234567890123<|im_end|>",
    "f": "stop<|im_start|>user",
}
WANTED = {
    "a": ("The capital of France is", "limit"), "b": ("It is 4", "stop"), "c": ("long " * 4 + "long", "limit"),
    "d": ("fine.", "end"), "e": ("12345678901234567890123", "end"), "f": ("stop", "stop"),
}  # fmt: skip


def tiny_model(tokenizer, eos=None):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **shape)).eval()
    model.generation_config = GenerationConfig(eos_token_id=eos)
    return model


@pytest.fixture
def evaluated(chatml, demo_model, demo_data, tmp_path, monkeypatch):
    lm = EvaluatedLM(tiny_model(chatml), chatml)
    benchmark = load_profile("miniature").benchmarks["gsm8k"]

    def use(batch_size, out="out"):
        (tmp_path / out).mkdir(exist_ok=True)
        lm.use(
            EvaluateStage(model=demo_model, benchmark=benchmark, data=str(demo_data), batch_size=batch_size),
            None, tmp_path / out,
        )  # fmt: skip
        return lm

    return use, Scripted(monkeypatch, chatml, TEXTS)


def asked(keys):
    settings = {"do_sample": False, "until": ["\n\n", "<|im_start|>"], "max_gen_toks": 24}
    return [Instance("generate_until", {}, (f"{key}>", dict(settings)), n) for n, key in enumerate(keys)]


@pytest.mark.parametrize("batch_size", [1, 3, 6])
def test_answers_and_their_endings_are_the_same_in_batches_of_any_size(evaluated, batch_size):
    use, _ = evaluated
    lm = use(batch_size)
    texts = lm.generate_until(asked(WANTED))
    assert {key: (text, lm.endings[f"{key}>"][0][1]) for key, text in zip(WANTED, texts, strict=True)} == WANTED
    assert lm.describe()["end_tokens"] == ["<|endoftext|>", "<|im_end|>"]


def test_vllm_ends_answers_where_transformers_does(evaluated):
    use, scripted = evaluated
    lm = use(3)
    settings = lm._settings({**asked("a")[0].args[1]}, "<|endoftext|>")
    answerer = VllmAnswerer(lambda: ScriptedEngine(scripted), lm.tok_decode, "tiny")
    for limit in (24, 60):
        requests = [
            Generation(tuple(lm.tok_encode(f"{key}>")), GenerationSettings(
                settings.stop, limit, ends=settings.ends, stop_ids=settings.stop_ids, marked_stop=settings.marked_stop
            )) for key in TEXTS
        ]  # fmt: skip
        theirs = [a for batch in batches(requests, 4) for a in zip(batch.items, answerer.answer(batch), strict=True)]
        ours = {request: answer for request in requests for answer in lm.answerer.answer(Batch([request]))}
        assert {r: (a.value, a.ending) for r, a in theirs} == {r: (a.value, a.ending) for r, a in ours.items()}
    at_60 = {key: ours[request] for key, request in zip(TEXTS, requests, strict=True)}
    assert (at_60["a"].value, at_60["a"].ending) == ("The capital of France is Paris.", "end")


def test_endings_outlive_a_kill_and_lines_without_them_are_asked_again(evaluated, tmp_path, monkeypatch):
    use, _ = evaluated
    lm = use(2)
    lm.generate_until(asked(WANTED))
    first = dict(lm.endings)
    lm = use(2)
    with monkeypatch.context() as patch:
        patch.setattr(lm.answerer, "answer", lambda batch: pytest.fail("asked again"))
        lm.generate_until(asked(WANTED))
    assert lm.endings == first
    path = tmp_path / "out" / ANSWERS_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line[:3]) + "\n" for line in lines))
    lm, again = use(2), []
    answer = lm.answerer.answer
    monkeypatch.setattr(lm.answerer, "answer", lambda batch: again.extend(batch.items) or answer(batch))
    lm.generate_until(asked(WANTED))
    assert len(again) == len(WANTED) and lm.endings == first


def test_an_answer_without_an_ending_is_not_one_to_a_prompt(tmp_path):
    request = Generation((1, 2), GenerationSettings(("\n",), 8))
    kept = Answers(tmp_path, {})
    kept.add(Batch([request]), [Answer("x", 3, "end")])
    assert Answers(tmp_path, {}).of(Batch([request])) == [Answer("x", 3, "end")]


def test_items_record_how_each_answer_ended_and_whether_its_prompt_was_cut(evaluate, config_of):
    changes = {"max_gen_toks": 12}
    _, out = evaluate("gsm8k", changes=changes, limit=4)
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert {ending for item in items for ending in item["endings"]} <= {"end", "stop", "limit"}
    assert all(len(item["endings"]) == len(item["outputs"]) and item["truncated"] is False for item in items)
    assert json.loads((out / "result.json").read_text())["model"]["end_tokens"] == ["</s>"]


def test_a_prompt_longer_than_the_context_is_marked_and_counted(evaluate, demo_model, tmp_path):
    folder = tmp_path / "short"
    shutil.copytree(demo_model.path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}))
    for name in ("gsm8k", "mmlu"):
        _, out = evaluate(name, model=ModelConfig(path=str(folder), dtype="float32"), limit=4)
        items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
        cut = sum(item["truncated"] for item in items)
        notes = json.loads((out / "result.json").read_text())["notes"]
        assert cut > 0 and any(note.startswith(f"{cut} of {len(items)} prompts were longer") for note in notes)


def test_a_tokenizer_without_an_end_token_is_asked_to_the_limit(demo_model, demo_data, tmp_path):
    tokenizer = tokenizer_of(["<unk>"], None)
    tokenizer.unk_token = "<unk>"
    lm = EvaluatedLM(tiny_model(tokenizer), tokenizer)
    benchmark = load_profile("miniature").benchmarks["gsm8k"]
    config = EvaluateStage(model=demo_model, benchmark=benchmark, data=str(demo_data), batch_size=2)
    lm.use(config, None, tmp_path)
    settings = {"do_sample": False, "until": [], "max_gen_toks": 8}
    lm.generate_until([Instance("generate_until", {}, ("Question", settings), 0)])
    assert lm.endings["Question"][0][1] == "limit" and lm.describe()["end_tokens"] == []


def test_an_adapters_training_states_what_else_ends_an_answer(adapter, demo_model, tmp_path):
    shutil.copytree(adapter / "adapter", tmp_path / "adapter")
    GenerationConfig(eos_token_id=[2, 7]).save_pretrained(tmp_path / "adapter")
    forget_lm()
    lm = load_lm(demo_model, Weights(adapter=str(tmp_path / "adapter")))
    assert lm._ends == (2, 7)
    forget_lm()


# A tokenizer that appends its end token, and logits that are no numbers


def test_an_end_token_that_the_tokenizer_appends_is_not_part_of_a_prompt(demo_model, demo_data, tmp_path):
    benchmark = load_profile("miniature").benchmarks["gsm8k"]
    config = EvaluateStage(model=demo_model, benchmark=benchmark, data=str(demo_data), batch_size=2)
    special = ["<s>", "</s>"]
    plain, appending = (
        tokenizer_of(special, "</s>", bos="<s>", appends=appends) for appends in ([], ["</s>"])
    )  # fmt: skip
    assert appending.encode("x")[-1] == appending.eos_token_id and plain.encode("x")[-1] != plain.eos_token_id
    pairs = [("Question: is it A or B? Answer:", choice) for choice in (" A", " B", " yes it is")]
    found = []
    for number, tokenizer in enumerate((plain, appending)):
        (tmp_path / str(number)).mkdir()
        lm = EvaluatedLM(tiny_model(tokenizer), tokenizer)
        lm.use(config, None, tmp_path / str(number))
        likelihoods = lm.loglikelihood([Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)])
        settings = {"do_sample": False, "until": [], "max_gen_toks": 8}
        text = lm.generate_until([Instance("generate_until", {}, ("Question", settings), 0)])
        literal = lm.tok_encode("said</s>", add_special_tokens=False)
        found.append(([value for value, _ in likelihoods], text, literal[-1] == tokenizer.eos_token_id))
    (ours, text, literal), (theirs, other, also_literal) = found
    assert len(set(theirs)) == 3, "four equal log-probabilities were what it gave"
    assert literal and also_literal
    bare = EvaluatedLM(tiny_model(plain), plain).tok_encode("Question")
    assert EvaluatedLM(tiny_model(appending), appending).tok_encode("Question") == [appending.bos_token_id, *bare]
    assert ours != theirs and text is not None and other is not None, "one has a start token, the other has none"


@pytest.fixture
def broken(demo_model, tmp_path):
    """The demonstration model with one number that is not one."""
    folder = tmp_path / "nan"
    model = AutoModelForCausalLM.from_pretrained(demo_model.path)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(demo_model.path).save_pretrained(folder)
    return ModelConfig(path=str(folder), dtype="float32")


@pytest.mark.parametrize("name", ["mmlu", "bbh"])
def test_a_model_whose_logits_are_not_finite_is_refused_by_name(evaluate, broken, name):
    with pytest.raises(UserError, match=r"nan gives logits that are NaN or infinite in float32: its weights are dama"):
        evaluate(name, model=broken, limit=2)


def test_the_cure_is_named_where_the_number_type_may_be_the_cause(broken):
    from selectit.inference.load import refuse_not_finite

    model = load_model(broken.model_copy(update={"dtype": "float16"}))
    with pytest.raises(UserError, match=r"in float16: numbers overflow in float16: set model\.dtype to bfloat16 or f"):
        refuse_not_finite(torch.tensor([1.0, float("inf")]), model)
    refuse_not_finite(torch.tensor([1.0, -60000.0]), model)


def test_vllm_whose_log_probabilities_are_not_finite_is_refused(evaluated):
    use, scripted = evaluated
    lm = use(2)
    answerer = VllmAnswerer(lambda: ScriptedEngine(scripted, finite=False), lm.tok_decode, "tiny")
    with pytest.raises(UserError, match="tiny gives logits that are NaN"):
        answerer.answer(Batch([Generation(tuple(lm.tok_encode("a>")), GenerationSettings((), 8))]))

    class NotFinite(ScriptedEngine):
        def next_of_each(self, rows, token_ids):
            return [(0, [float("nan")] * len(tokens)) for tokens in token_ids]

    from selectit.inference.requests import Likelihood

    answerer = VllmAnswerer(lambda: NotFinite(scripted), lm.tok_decode, "tiny")
    with pytest.raises(UserError, match="tiny gives logits that are NaN"):
        answerer.answer(Batch([Likelihood((1, 2), ((3,), (4,)))]))


# A real chat model

CHAT_MODEL = Path(os.environ.get("SELECTIT_CHAT_MODEL", "~/.cache/selectit/smollm2")).expanduser()


@pytest.mark.slow
@pytest.mark.skipif(not CHAT_MODEL.is_dir(), reason="SELECTIT_CHAT_MODEL names no folder of a chat model")
def test_a_real_chat_model_ends_its_turn_whatever_its_tokenizer_calls_the_end(config_of, tmp_path):
    folder = tmp_path / "chat"
    folder.mkdir()
    for file in CHAT_MODEL.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    for name, change in (("tokenizer_config.json", "eos_token"), ("generation_config.json", "eos_token_id")):
        settings = json.loads((folder / name).read_text())
        (folder / name).unlink()
        settings[change] = {"eos_token": "<|endoftext|>", "eos_token_id": 0}[change]
        (folder / name).write_text(json.dumps(settings))
    model = ModelConfig(path=str(folder), dtype="float32")
    assert load_tokenizer(model).eos_token == "<|endoftext|>"
    forget_lm()
    lm = load_lm(model, Weights())
    lm.use(config_of("gsm8k", model=model), "chat", tmp_path)
    prompt = lm.apply_chat_template([{"role": "user", "content": "What is the capital of France? One sentence."}])
    settings = {"do_sample": False, "until": [], "max_gen_toks": 60}
    [text] = lm.generate_until([Instance("generate_until", {}, (prompt, settings), 0)])
    assert text.strip().endswith("Paris.") and "user" not in text and "\n" not in text.strip()
    assert lm.endings[prompt] == [(text, "end")]
    forget_lm()
