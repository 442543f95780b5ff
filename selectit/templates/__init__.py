"""Prompt templates: one home for training, losses and evaluation.

A template is a Jinja chat template, so the same text goes to the trainer's loss mask, to chat-format benchmarks and
into the saved tokenizer. `chat_template` gives it as one tokenizer takes it: with a start token only where that
tokenizer writes one itself, with the opening of an answer where one is asked for, and without today's date.
"""

from __future__ import annotations

import copy
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from selectit.errors import UserError
from selectit.templates.dates import frozen
from selectit.templates.opening import with_opening

INPUT_SEPARATOR = {"alpaca": "\n\n### Input:\n", "llmzoo": "\n"}
"""What stands between an Alpaca row's instruction and its input; a line end in all other templates."""

RESPONSE_MARKER = {"alpaca": "### Response:\n", "llmzoo": "Assistant: "}
"""What announces a response, in the templates that have such words of their own."""

OWN = ("alpaca", "llmzoo", "plain")
"""Templates of this project."""

GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
NO_START_TOKEN = "{%- set bos_token = '' -%}\n"


def input_separator(name: str) -> str:
    return INPUT_SEPARATOR.get(name, "\n")


def response_marker(name: str, tokenizer: Any) -> str:
    """A blank before a start token that is not written stands in front of the response, and is part of it."""
    marker = RESPONSE_MARKER[name]
    return marker if writes_start(tokenizer) else marker.removesuffix(" ")


def template_name(name: str) -> str:
    """As a reader is shown it: one of the words, or the name of a file without its folder."""
    return Path(name).name


def chat_template(name: str, tokenizer: Any = None) -> str:
    """The Jinja text of a template, for one tokenizer.

    Args:    name: alpaca, llmzoo, plain (for losses only), chat (the tokenizer's own), or the path of a .jinja file;
             tokenizer: needed for chat; without it the project's own have a start token.
    Raises:  UserError where the tokenizer has no chat template, or the template is not Jinja or prints a date in a way
             that cannot be fixed.
    """
    if name in OWN:
        text = files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")
        return text if tokenizer is None or writes_start(tokenizer) else NO_START_TOKEN + text
    where = f"the chat template of {tokenizer.name_or_path}" if name == "chat" else name
    text = _of_tokenizer(tokenizer) if name == "chat" else Path(name).read_text(encoding="utf-8")
    if not GENERATION_MARK.search(text) and tokenizer is not None:
        text = _with_marks(text, tokenizer) or text
    text = frozen(text, where)
    return text if tokenizer is None else with_opening(text, tokenizer)


def own_names(text: str) -> list[str]:
    """The templates of this project that a saved text is, whatever the tokenizer writes in front."""
    return [name for name in OWN if text.removeprefix(NO_START_TOKEN) == chat_template(name)]


def writes_start(tokenizer: Any) -> bool:
    """Whether the tokenizer itself puts its start token in front of a text.

    LLaMA's does; those of Qwen, GPT-2 and SmolLM2 do not, and their models have never seen it there.
    """
    if tokenizer.bos_token_id is None:
        return False
    return list(tokenizer("a")["input_ids"][:1]) == [tokenizer.bos_token_id]


def default_template(tokenizer: Any) -> str | None:
    """The text of the tokenizer's chat template, of several named ones the default; None where there is none."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default") or (next(iter(template.values())) if len(template) == 1 else None)
    return template or None


def _of_tokenizer(tokenizer: Any) -> str:
    text = default_template(tokenizer)
    if text is None:
        if template := getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path} has chat templates named {', '.join(template)}, and none "
                "is 'default'; write the one that is meant into a .jinja file and name it as finetune.template"
            )
        raise UserError(
            f"template 'chat' needs a tokenizer with a chat template, and {tokenizer.name_or_path} has none; "
            "set finetune.template to alpaca or llmzoo, or to a .jinja file"
        )
    return text


def _with_marks(text: str, tokenizer: Any) -> str | None:
    """TRL's training variant of a model's own template, which marks what is trained on; None where TRL has none."""
    from trl.chat_template_utils import get_training_chat_template

    asked = copy.copy(tokenizer)
    asked.chat_template = text
    try:
        return get_training_chat_template(asked)
    except ValueError:
        return None
