"""Chat format: a template that has no place for a system text loses none of its words."""

import pytest

from selectit.errors import UserError
from selectit.evaluate.model.conversation import check_turns, rendered
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.inference.load import load_model, load_tokenizer

TURNS = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
)
DROPS = TURNS.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
ASKED = [
    {"role": "system", "content": "Name the letter.\n\n"}, {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "A"}, {"role": "user", "content": "Two?"},
]  # fmt: skip


@pytest.fixture
def tokenizer(demo_model):
    return load_tokenizer(demo_model)


@pytest.mark.parametrize("template", [REFUSES, DROPS])
def test_a_system_text_without_a_place_stands_in_the_first_question(tokenizer, template):
    tokenizer.chat_template = template
    assert rendered(tokenizer, ASKED) == "[user] Name the letter.\n\nOne?\n[assistant] A\n[user] Two?\n"
    check_turns(tokenizer, "mine.jinja")
    tokenizer.chat_template = TURNS
    assert rendered(tokenizer, ASKED).startswith("[system] Name the letter.")


def test_the_evaluated_model_is_asked_that_way(demo_model, tokenizer):
    lm = EvaluatedLM(load_model(demo_model), tokenizer)
    lm.tokenizer.chat_template = REFUSES
    assert lm.apply_chat_template(ASKED) == rendered(tokenizer, ASKED)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ messages[0]['content'] }}", "leaves out the words of user, assistant"),
        ("{{ raise_exception('no') }}", r"examples cannot stand in it \(no\)"),
    ],
)
def test_a_template_of_one_turn_is_refused_before_anything_runs(tokenizer, template, says):
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=says):
        check_turns(tokenizer, "mine.jinja")
