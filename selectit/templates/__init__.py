"""Prompt templates: one home for training and evaluation.

A template is a Jinja chat template with `{% generation %}` around what is trained on, so the same text
goes to the trainer's loss mask, to chat-format benchmarks and into the saved tokenizer.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from selectit.errors import UserError

INPUT_SEPARATOR = {"alpaca": "\n\n### Input:\n", "llmzoo": "\n", "chat": "\n", "plain": "\n"}
"""What stands between an Alpaca row's instruction and its input."""


RESPONSE_MARKER = {"alpaca": "### Response:\n", "llmzoo": "Assistant: "}
"""What announces a response, in the templates that have such words of their own."""


def chat_template(name: str, tokenizer: Any = None) -> str:
    """The Jinja text of a template.

    Args:    name: alpaca, llmzoo, plain (for losses only) or chat; tokenizer: needed for chat, whose own template is
             returned.
    Raises:  UserError where the tokenizer has no chat template.
    """
    if name != "chat":
        return files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise UserError(
            f"template 'chat' needs a tokenizer with a chat template, and {tokenizer.name_or_path} has none; "
            "set finetune.template to alpaca or llmzoo"
        )
    return template
