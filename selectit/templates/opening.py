"""Chat templates that write no opening of an answer where one is asked for write it then: what is asked is what was
trained.
"""

from __future__ import annotations

from typing import Any

QUESTION, ANSWER = "zebra", "quartz"
"""Words that no template holds."""


def with_opening(text: str, tokenizer: Any) -> str:
    """The template with the words in front of an answer, such as `<|im_start|>assistant`, also behind a question whose
    answer is asked for (`add_generation_prompt`); the same text where it writes something there itself, where nothing
    but blanks stands in front of an answer, or where it cannot be found out.
    """
    import jinja2

    asked = {"role": "user", "content": QUESTION}
    try:
        alone, prompt = (_rendered(text, tokenizer, [asked], generation) for generation in (False, True))
        whole = _rendered(text, tokenizer, [asked, {"role": "assistant", "content": ANSWER}], False)
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError):
        return text
    if prompt != alone or not whole.startswith(alone) or whole.count(ANSWER) != 1:
        return text
    opening = whole[len(alone) : whole.index(ANSWER)]
    if not opening.strip():
        return text
    return f"{text}{{%- if add_generation_prompt %}}{{{{- {opening!r} -}}}}{{% endif %}}"


def _rendered(text: str, tokenizer: Any, messages: list[dict[str, str]], prompt: bool) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    made: Any = render_jinja_template(
        conversations=[messages],
        chat_template=text,
        add_generation_prompt=prompt,
        **tokenizer.special_tokens_map,
    )
    return str(made[0][0])
