"""Which tokens of a conversation are trained on, in the templates and with the tokenizers that people have."""

from __future__ import annotations

import datetime
import json

import pytest
from families import CHATML_WITH_SYSTEM, FAMILIES, MISTRAL, stock, tokenizer_of
from transformers.utils import chat_template_utils

from selectit.errors import UserError
from selectit.templates import chat_template, own_names, response_marker, writes_start
from selectit.templates.form import BadRow, load_form

TURNS = (
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "Blue, perhaps."},
    {"role": "user", "content": "Another one?"},
    {"role": "assistant", "content": "Green."},
)
UNMARKED = {
    "mistral": MISTRAL, "smollm2": CHATML_WITH_SYSTEM, "llama": stock("llama3_2"),
    "qwen2": stock("qwen2_5").replace("Alibaba Cloud", "somebody else"), "gemma2": stock("gemma") + "{# mine #}",
}  # fmt: skip
"""Templates without marks that TRL does not know."""


def trained(form, messages=TURNS):
    """The text of each answer that is trained on, by its tokens."""
    encoded = form.encode(messages)
    assert encoded.input_ids.tolist() == form.tokenizer(encoded.text, add_special_tokens=False)["input_ids"]
    spans = [encoded.offsets[start:end] for start, end in encoded.spans]
    return [encoded.text[span[0][0] : span[-1][1]] for span in spans]


@pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES[name]["template"]])
def test_templates_of_known_models_are_trained_in_as_trl_marks_them_or_by_rendering(family):
    form = load_form("chat", tokenizer_of(family))
    assert form.end_token == FAMILIES[family]["end"]
    first, second = trained(form)
    assert first.removesuffix("\n").endswith(f"Blue, perhaps.{form.end_token}")
    assert f"Green.{form.end_token}" in second and "colour" not in first and "Another" not in second


@pytest.mark.parametrize("family", UNMARKED)
def test_answers_of_a_template_without_marks_are_found_by_rendering_its_prefixes(family):
    form = load_form("chat", tokenizer_of(family, UNMARKED[family]))
    assert not form.marks
    blank = " " if family == "mistral" else ""
    assert trained(form) == [f"{blank}Blue, perhaps.{form.end_token}", f"{blank}Green.{form.end_token}"]
    for at in (1, 3):  # what is asked for an answer is what stands in front of it in training
        prompt = form.tokenizer.apply_chat_template(
            TURNS[:at], chat_template=form.text, add_generation_prompt=True, return_dict=False
        )
        encoded = form.encode(TURNS)
        start, _ = encoded.spans[at // 2]
        assert encoded.input_ids[:start].tolist() == prompt


def test_a_template_that_renders_the_beginning_otherwise_later_is_refused():
    template = "{{ messages | length }}" + CHATML_WITH_SYSTEM
    with pytest.raises(UserError, match=r"a question and its answer cannot be labelled: .*cannot be distinguished"):
        load_form("chat", tokenizer_of("smollm2", template))
    later = "{% if messages | length > 3 %}{{ messages | length }}{% endif %}" + CHATML_WITH_SYSTEM
    with pytest.raises(BadRow, match="cannot be distinguished"):
        load_form("chat", tokenizer_of("smollm2", later)).encode(TURNS)


def test_a_mark_that_ends_before_the_end_of_the_turn_is_extended():
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
        "{{ '<|im_end|>\\n' }}{% endfor %}"
    )
    form = load_form("chat", tokenizer_of("qwen2", template))
    assert form.marks and not form.marks_end
    assert trained(form) == ["Blue, perhaps.<|im_end|>", "Green.<|im_end|>"]


def test_a_template_in_which_nothing_ends_an_answer_is_refused():
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    with pytest.raises(UserError, match=r"no token of its own follows an answer.*never stops.*\.jinja file"):
        load_form("chat", tokenizer_of("qwen2", template))
    chatml = CHATML_WITH_SYSTEM  # with a tokenizer that has no <|im_end|>
    with pytest.raises(UserError, match="no token of its own follows an answer"):
        load_form("chat", tokenizer_of("gpt2", chatml))


@pytest.mark.parametrize("template", ["alpaca", "llmzoo", "plain"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "smollm2"])
def test_the_start_token_stands_where_the_tokenizer_puts_one(family, template):
    tokenizer = tokenizer_of(family)
    form = load_form(template, tokenizer)
    text = form.encode(TURNS).text
    assert writes_start(tokenizer) == FAMILIES[family]["starts"]
    bos, eos = FAMILIES[family]["bos"], FAMILIES[family]["eos"]
    if not FAMILIES[family]["starts"]:
        assert bos is None or bos == eos or bos not in text
        assert not text.startswith(("<", " "))
    else:
        assert text.startswith(bos) and text.count(bos) == (5 if template == "llmzoo" else 1)
    first, second = trained(form)
    head = {"llmzoo": bos if FAMILIES[family]["starts"] else " "}.get(template, "")
    assert (first, second) == (f"{head}Blue, perhaps.{eos}", f"{head}Green.{eos}")
    assert own_names(form.text) == [template]


def test_what_is_asked_in_llmzoo_is_the_beginning_of_what_is_trained():
    for family in ("llama", "qwen2", "gpt2"):
        tokenizer = tokenizer_of(family)
        form = load_form("llmzoo", tokenizer)
        tokenizer.chat_template = form.text
        asked = tokenizer.apply_chat_template(TURNS[:1], add_generation_prompt=True, return_dict=False)
        encoded = form.encode(TURNS)
        start = encoded.spans[0][0] + FAMILIES[family]["starts"]  # the answer's own start token is asked with
        assert encoded.input_ids[:start].tolist() == asked
        assert response_marker("llmzoo", tokenizer) == ("Assistant: " if family == "llama" else "Assistant:")


class Tomorrow(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2031, 1, 2)


def test_a_template_that_prints_the_date_prints_the_same_every_day(monkeypatch):
    template = (
        "{{ '<|im_start|>system\\nToday is ' + strftime_now('%d %b %Y') + '<|im_end|>\\n' }}" + CHATML_WITH_SYSTEM
    )
    tokenizer = tokenizer_of("smollm2", template)
    form = load_form("chat", tokenizer)
    today = form.encode(TURNS).text
    assert "Today is 26 Jul 2024<" in today and form.date == "2024-07-26"
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    chat_template_utils._compile_jinja_template.cache_clear()
    assert load_form("chat", tokenizer).encode(TURNS).text == today
    assert "02 Jan 2031" in tokenizer.apply_chat_template(TURNS, tokenize=False), "the clock is another day's"
    tokenizer.chat_template = form.text  # as it is saved
    assert chat_template("chat", tokenizer) == form.text and load_form("chat", tokenizer).date == "2024-07-26"
    assert load_form("chat", tokenizer_of("qwen2")).date is None


def test_a_date_in_a_computed_format_is_refused():
    with pytest.raises(UserError, match="line 1 prints a date in a format that is computed"):
        chat_template("chat", tokenizer_of("smollm2", "{{ strftime_now(messages[0]['content']) }}"))


@pytest.mark.parametrize("alias", ["{% set now = strftime_now %}", "{% set ns = namespace(now=strftime_now) %}"])
def test_a_clock_under_another_name_is_refused(alias):
    with pytest.raises(UserError, match="line 2 hands strftime_now on under another name"):
        chat_template("chat", tokenizer_of("smollm2", "\n" + alias + CHATML_WITH_SYSTEM))
    asked_for = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% elif not strftime_now %}-{% endif %}"
    text = chat_template("chat", tokenizer_of("smollm2", asked_for + CHATML_WITH_SYSTEM))
    assert text.startswith("{%- macro strftime_now(")


def test_a_dict_of_named_templates_means_its_default():
    other = "{% for m in messages %}tool{% endfor %}"
    form = load_form("chat", tokenizer_of("smollm2", {"default": CHATML_WITH_SYSTEM, "tool_use": other}))
    assert trained(form) == ["Blue, perhaps.<|im_end|>", "Green.<|im_end|>"]
    with pytest.raises(UserError, match="templates named rag, tool_use, and none is 'default'"):
        load_form("chat", tokenizer_of("smollm2", {"rag": other, "tool_use": other}))


def test_a_template_of_the_users_own_is_read_from_its_file(tmp_path):
    file = tmp_path / "my.jinja"
    file.write_text(CHATML_WITH_SYSTEM.replace("tiny assistant", "pirate"))
    form = load_form(str(file), tokenizer_of("smollm2", None))
    assert "You are a pirate." in form.encode(TURNS).text and trained(form)[1] == "Green.<|im_end|>"
    file.write_text("{% for m in messages %}")
    with pytest.raises(UserError, match=r"my\.jinja is not a Jinja template: line 1"):
        load_form(str(file), tokenizer_of("smollm2", None))


def test_a_conversation_that_the_template_refuses_is_a_bad_row_with_its_words():
    system = [{"role": "system", "content": "Answer in one word."}, *TURNS]
    for family, messages, reported in (
        ("gemma2", system, "System role not supported"),
        ("gemma2", [TURNS[0], *TURNS], "must alternate"),
        ("mistral", [TURNS[0], *TURNS], "must alternate"),
    ):
        with pytest.raises(BadRow, match=reported) as fault:
            load_form("chat", tokenizer_of(family)).encode(messages)
        assert fault.value.kind == "template_error"


@pytest.mark.parametrize(
    ("family", "template"), [("mistral", "alpaca"), ("mistral", "chat"), ("llama", "llmzoo"), ("smollm2", "chat")]
)
def test_control_tokens_in_the_words_of_a_row_are_read_as_plain_text(family, template):
    tokenizer = tokenizer_of(family)
    form = load_form(template, tokenizer)
    other = FAMILIES[family]["special"][0]
    answer = f"<p>{form.end_token}10{other} now"
    encoded = form.encode([TURNS[0], {"role": "assistant", "content": answer}])
    plain = form.encode([TURNS[0], {"role": "assistant", "content": "<p>10 now"}])
    assert answer in encoded.text and encoded.control_tokens == (form.end_token, other)
    special = {*tokenizer.all_special_ids, form.end_id}
    assert [i for i in encoded.input_ids if i in special] == [i for i in plain.input_ids if i in special]
    (span,) = encoded.spans
    words = encoded.input_ids[span[0] : span[1]].tolist()
    assert words.count(form.end_id) == 1 and words[-1] == form.end_id
    assert tokenizer.decode(words[:-1]).endswith(answer)
    assert "".join(encoded.text[start:end] for start, end in encoded.offsets) == encoded.text


def test_a_token_that_holds_prompt_and_answer_belongs_to_the_one_whose_words_it_holds():
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'Q: ' + m['content'] + '\\nA: ' }}{% else %}"
        "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
    )
    form = load_form("chat", tokenizer_of("gpt2", template))
    (answer,) = trained(form, [TURNS[0], {"role": "assistant", "content": "The capital."}])
    assert answer == " The capital.<|endoftext|>"
    glued = template.replace("\\nA: ", " Par")
    form = load_form("chat", tokenizer_of("gpt2", glued))
    with pytest.raises(BadRow, match="holds the end of the prompt and of the answer") as fault:
        form.encode([TURNS[0], {"role": "assistant", "content": "is."}])
    assert fault.value.kind == "straddling_token"


def test_a_turn_that_is_not_trained_on_carries_no_label():
    turns = [TURNS[0], {**TURNS[1], "train": False}, *TURNS[2:]]
    for family in ("llama", "smollm2"):
        form = load_form("chat", tokenizer_of(family))
        assert trained(form, turns) == [f"Green.{form.end_token}"]
        assert form.encode(turns).text == form.encode(TURNS).text


def test_the_cases_of_the_issue_behave(root):
    cases = root.parent / "shared" / "cases" / "finetune"
    if not cases.is_dir():
        pytest.skip("the cases are not on this machine")
    late = (cases / "C04-eos-outside-markers" / "chat_template.jinja").read_text()
    assert trained(load_form("chat", tokenizer_of("qwen2", late)))[1] == "Green.<|im_end|>"
    dated = (cases / "C07-date-template" / "chat_template.jinja").read_text()
    assert "26 Jul 2024" in load_form("chat", tokenizer_of("qwen2", dated)).encode(TURNS).text
    gemma = load_form("chat", tokenizer_of("gemma2"))
    for name in ("sys", "twouser"):
        for line in (cases / "C11-template-errors" / f"{name}.jsonl").read_text().splitlines():
            with pytest.raises(BadRow):
                gemma.encode(json.loads(line)["messages"])


@pytest.mark.parametrize("marks", [True, False])
def test_a_template_that_writes_no_opening_of_an_answer_is_asked_in_the_one_that_stands_in_training(marks):
    answer = "{{ m['content'] + '<|im_end|>' }}"
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}"
        + ("{% generation %}" + answer + "{% endgeneration %}" if marks else answer)
        + f"{{% else %}}{answer}{{% endif %}}{{{{ '\\n' }}}}{{% endfor %}}"
    )
    form = load_form("chat", tokenizer_of("qwen2", template))
    assert form.marks == marks
    assert trained(form) == ["Blue, perhaps.<|im_end|>", "Green.<|im_end|>"]
    asked = form.tokenizer.apply_chat_template(
        TURNS[:1], chat_template=form.text, add_generation_prompt=True, tokenize=False
    )
    assert asked == "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\n"
    form.tokenizer.chat_template = form.text  # as it is saved
    assert chat_template("chat", form.tokenizer) == form.text
    assert chat_template("chat", tokenizer_of("mistral")) == MISTRAL, "a blank is no opening"


def test_characters_for_private_use_in_a_row_stay_next_to_control_tokens():
    form = load_form("chat", tokenizer_of("mistral"))
    words = "\ue000 costs <s>10</s> \ue001"
    encoded = form.encode([{"role": "user", "content": words}, {"role": "assistant", "content": words}])
    assert encoded.text == f"<s>[INST] {words} [/INST] {words}</s>" and encoded.control_tokens == ("<s>", "</s>") * 2
