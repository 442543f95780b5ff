"""A conversation in chat format, as lm-eval puts it together: a system text, examples as turns, the question."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from transformers import PreTrainedTokenizerBase

from selectit.errors import UserError

Messages = Sequence[dict[str, str]]
_TRIED = [
    {"role": "system", "content": "zebra"}, {"role": "user", "content": "quartz"},
    {"role": "assistant", "content": "violin"}, {"role": "user", "content": "marble"},
]  # fmt: skip


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Messages, add_generation_prompt: bool = True) -> str:
    """In the tokenizer's template. Where that refuses or drops a system text, as Gemma's does, it stands in front of
    the first question; lm-eval would leave it out.
    """
    has_system = bool(messages) and messages[0]["role"] == "system"
    try:
        text = _rendered(tokenizer, messages, add_generation_prompt)
        if not has_system or messages[0]["content"].strip() in text:
            return text
    except jinja2.TemplateError:
        if not has_system:
            raise
    system, first, *rest = messages
    joined = {**first, "content": f"{system['content'].rstrip()}\n\n{first['content']}"}
    return _rendered(tokenizer, [joined, *rest], add_generation_prompt)


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Messages, add_generation_prompt: bool) -> str:
    return str(
        tokenizer.apply_chat_template(
            list(messages),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
    )


def check_turns(tokenizer: PreTrainedTokenizerBase, template: str) -> None:
    """Args:   template: by name or path, which the tokenizer has.
    Raises: UserError where it cannot show examples as turns.
    """
    try:
        text = rendered(tokenizer, _TRIED)
    except jinja2.TemplateError as error:
        raise UserError(
            f"finetune.template {template}: a conversation with examples cannot stand in it ({error})"
        ) from error
    if missing := [message["role"] for message in _TRIED if message["content"] not in text]:
        raise UserError(f"finetune.template {template}: it leaves out the words of {', '.join(dict.fromkeys(missing))}")
