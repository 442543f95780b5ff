"""What ends an answer: the end tokens of the checkpoint, the tokenizer and the chat template; and the stop strings that
are special tokens, which a decoded text does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import GenerationConfig

_QUESTION, _ANSWER, _NEXT = "selectit question", "selectit answer", "selectit next"
_GENERATION_CONFIG = "generation_config.json"


def end_token_ids(tokenizer: Any, saved: int | Iterable[int] | None, template: str | None) -> tuple[int, ...]:
    """The ids that end an answer, in ascending order: all of the checkpoint's, the tokenizer's, and the one that its
    chat template writes after an answer.

    Args: saved: `eos_token_id` of the checkpoint's generation_config; template: the Jinja text of the chat template
        that prompts stand in, or that the tokenizer brings along; None: there is none.
    """
    listed = [saved] if isinstance(saved, int) else list(saved or ())
    found = {*listed, *turn_end_ids(tokenizer, template)}
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return tuple(sorted(found))


def turn_end_ids(tokenizer: Any, template: str | None) -> set[int]:
    """The added or special tokens that the template writes right after an answer: in the middle of a conversation and
    at its end, which may differ. Empty where it writes plain words there, or has no place for an answer.
    """
    if template is None:
        return set()
    asked = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    found = set()
    for conversation in (asked, [*asked, {"role": "user", "content": _NEXT}]):
        try:
            text = str(tokenizer.apply_chat_template(conversation, chat_template=template, tokenize=False))
        except TemplateError:  # it takes no such conversation
            continue
        _, answered, rest = text.rpartition(_ANSWER)
        token = _token_at_start(rest.lstrip(), special_tokens(tokenizer)) if answered else None
        if token is not None:
            found.add(token)
    return found


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Text -> id of the tokens that are not made of others: special ones and added ones."""
    found = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    return {**found, **dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))}


def _token_at_start(text: str, tokens: dict[str, int]) -> int | None:
    longest = max((token for token in tokens if token and text.startswith(token)), key=len, default=None)
    return None if longest is None else tokens[longest]


def ends_saved_in(adapter: str | None) -> list[int]:
    """Ends that a training has left in the folder of its adapter."""
    if adapter is None or not (Path(adapter) / _GENERATION_CONFIG).is_file():
        return []
    saved: Any = GenerationConfig.from_pretrained(adapter).eos_token_id
    return [saved] if isinstance(saved, int) else list(saved or ())


def split_stops(stop: Sequence[str], tokenizer: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Of the stop strings, the ids of those that are one special or added token; and those that hold a special token
    and more, which only a text with its special tokens shows.
    """
    tokens = special_tokens(tokenizer)
    added = tokenizer.added_tokens_decoder.values()
    hidden = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    alone = tuple(sorted({tokens[one] for one in stop if one in tokens}))
    return alone, tuple(one for one in stop if one not in tokens and any(token in one for token in hidden))
