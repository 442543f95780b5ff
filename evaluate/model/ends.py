"""Where an answer ends: at an end token of the checkpoint, the tokenizer or the chat template, at a stop string, or at
the limit of new tokens. One reading of the new tokens, for every backend.

A stop string may be a special token, which a decoded text does not show: it is looked for among the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from lm_eval.models.utils import postprocess_generated_text
from transformers import GenerationConfig

from selectit.evaluate.model.requests import GenerationSettings
from selectit.evaluate.results import Ending

Decode = Callable[..., str]
"""decode(tokens, skip_special_tokens=True) -> text"""
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


@dataclass(frozen=True)
class Ended:
    text: str
    ending: Ending
    num_tokens: int
    """New tokens up to the end, an end token included."""


class AnswerEnd:
    """Reads the end out of the new tokens of answers with equal settings."""

    def __init__(self, decode: Decode, settings: GenerationSettings) -> None:
        self._decode, self._settings = decode, settings
        self._tokens = {*settings.ends, *settings.stop_ids}
        self._stop = _to_look_for(settings.stop)

    def is_end(self, token: int) -> bool:
        return token in self._tokens

    def holds_stop(self, tokens: Sequence[int]) -> bool:
        """Whether a stop string stands in the text of these tokens."""
        if self._stop and _holds(self._decode(list(tokens)), self._stop):
            return True
        marked = self._settings.marked_stop
        return bool(marked) and _holds(self._decode(list(tokens), skip_special_tokens=False), marked)

    def read(self, tokens: Sequence[int]) -> Ended:
        """Args: tokens: all new ones of an answer that has ended; some may follow its end."""
        at = next((n for n, token in enumerate(tokens) if token in self._tokens), None)
        kept = list(tokens) if at is None else list(tokens[:at])
        before_marked = self._before_marked_stop(list(tokens[: len(kept) + 1]))
        text = self._decode(kept) if before_marked is None else before_marked
        cut = postprocess_generated_text(text, list(self._settings.stop), None)
        if cut != text or before_marked is not None:
            return Ended(cut, "stop", len(tokens) if at is None else at + 1)
        if at is None:
            return Ended(text, "limit", len(tokens))
        return Ended(text, "end" if tokens[at] in self._settings.ends else "stop", at + 1)

    def _before_marked_stop(self, tokens: list[int]) -> str | None:
        """The text in front of the first stop string that holds special tokens; None where there is none."""
        marked = self._settings.marked_stop
        if not marked:
            return None
        shown = self._decode(tokens, skip_special_tokens=False)
        start = min((place for one in marked if (place := shown.find(one)) >= 0), default=None)
        if start is None:
            return None
        whole = len(tokens)  # the most tokens whose text ends in front of it
        while whole and len(self._decode(tokens[:whole], skip_special_tokens=False)) > start:
            whole -= 1
        before = self._decode(tokens[:whole], skip_special_tokens=False)
        return self._decode(tokens[:whole]) + shown[len(before) : start]


def _to_look_for(stop: Sequence[str]) -> list[str]:
    """The stop strings that end a row where they are found; the text is cut at the first of them all."""
    # one inside of another would end the row before the other, which begins earlier, is whole
    return [one for one in stop if one and not any(one in other[1:] for other in stop)]


def _holds(text: str, stop: Sequence[str]) -> bool:
    return any(one in text for one in stop)
