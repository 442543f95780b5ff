"""Rating texts as token ids, and where in them the response stands: as the released code writes them, or as the user's
turn of the rater's chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import RatingTemplate
from selectit.errors import UserError
from selectit.scoring.prompts import SUFFIX, rating_text
from selectit.templates.form import BadRow, Form, load_form

BEGUN = SUFFIX.lstrip("\n")
"""What the assistant's answer begins with in chat format; the next token is the rating."""


@dataclass(frozen=True)
class Written:
    """A rating text. `asked` tokens stand in front of the response and `tail` tokens behind it; they are counted only
    where they are asked for.
    """

    ids: list[int]
    asked: int = 0
    tail: int = 0


def written(
    tokenizer: PreTrainedTokenizerBase,
    template: RatingTemplate,
    prompt: str,
    pairs: Sequence[tuple[str, str]],
    places: bool,
) -> list[Written]:
    """Args: pairs: instruction and response; places: count the tokens around the response.

    Raises: UserError, see `chat_form`; for a row that the chat template refuses.
    """
    if template == "chat":
        form = chat_form(tokenizer)
        return [_in_chat(form, prompt, instruction, response, places) for instruction, response in pairs]
    texts = [rating_text(prompt, instruction, response) for instruction, response in pairs]
    encoded = tokenizer(
        texts,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=places,
        split_special_tokens=True,  # <s> in a row's own words is text; what the tokenizer puts in front stays
        verbose=False,
    )
    if not places:
        return [Written(ids) for ids in encoded["input_ids"]]
    found = []
    for text, (_, response), ids, offsets in zip(
        texts, pairs, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        past = len(text) - len(SUFFIX)
        found.append(Written(ids, *_around(np.array(offsets), past - len(response), past)))
    return found


def ending(
    tokenizer: PreTrainedTokenizerBase, template: RatingTemplate, prompt: str, instruction: str, response: str
) -> tuple[str, Callable[[str], list[int]]]:
    """A whole rating text, and what makes ids of it with something behind it: to prove the ids of the ratings on."""
    if template == "plain":
        return rating_text(prompt, instruction, response), lambda text: list(tokenizer(text)["input_ids"])
    text, _ = chat_form(tokenizer).opening(_turn(prompt, instruction, response), BEGUN)
    return text, lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"])


def chat_form(tokenizer: PreTrainedTokenizerBase) -> Form:
    """Raises: UserError where the tokenizer has no chat template that can be used."""
    if not tokenizer.chat_template:
        raise UserError(
            f"score.template is chat, and the tokenizer {tokenizer.name_or_path} has no chat template; set "
            "score.template to plain, or rate with a model that was trained to chat"
        )
    try:
        return load_form("chat", tokenizer)
    except UserError as error:
        raise UserError(f"score.template is chat, and this cannot be rated with it: {error}") from error


def _turn(prompt: str, instruction: str, response: str) -> str:
    return rating_text(prompt, instruction, response).removesuffix(SUFFIX)


def _in_chat(form: Form, prompt: str, instruction: str, response: str, places: bool) -> Written:
    turn = _turn(prompt, instruction, response)
    try:
        text, cuts = form.opening(turn, BEGUN)
        ids, offsets = form.tokenize(text, cuts)
    except BadRow as error:
        raise UserError(
            f"a row that begins with {instruction[:60]!r} cannot be rated in chat format: {error}"
        ) from error
    if not places:
        return Written(ids.tolist())
    words = turn.strip()  # templates strip a turn
    start = text.find(words)
    if start < 0:
        raise UserError(
            f"the chat template of {form.tokenizer.name_or_path} changes the words of a turn, so a text beyond "
            "score.max_length cannot be cut in its response; set score.long_rows to skip"
        )
    past = start + len(words)
    return Written(ids.tolist(), *_around(offsets, past - len(response.rstrip()), past))


def _around(offsets: np.ndarray, start: int, past: int) -> tuple[int, int]:
    """Tokens that end before character `start` or at it, and tokens that end behind `past`."""
    ends = offsets[:, 1]
    return int((ends <= start).sum()), int((ends > past).sum())
