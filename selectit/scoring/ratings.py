"""Which token ids the ratings "1".."5" are, proven from the tokenizer instead of assumed."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from selectit.config import NUM_RATINGS
from selectit.errors import UserError

PIECES_SHOWN = 4


def rating_token_ids(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[int]:
    """The id of each rating as the token that follows a rating text.

    Args:    texts: rating texts to prove it on; each is tokenised whole, with and without a rating behind it.
    Raises:  UserError naming the tokenizer, where a rating is not exactly one token there, or changes the
             tokens before it.
    """
    found: dict[int, int] = {}
    for text in texts:
        before = tokenizer(text)["input_ids"]
        if tokenizer.eos_token_id is not None and before[-1] == tokenizer.eos_token_id:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path} ends every text with {tokenizer.eos_token!r}, so no "
                "rating can follow; set add_eos_token to false in its tokenizer_config.json"
            )
        for rating in range(1, NUM_RATINGS + 1):
            after = tokenizer(f"{text}{rating}")["input_ids"]
            tail = after[len(before) :]
            if after[: len(before)] != before or len(tail) != 1:
                alone, joined = (tokenizer.convert_ids_to_tokens(ids[-PIECES_SHOWN:]) for ids in (before, after))
                raise UserError(
                    f"the tokenizer {tokenizer.name_or_path} does not write the rating '{rating}' as one token after a "
                    f"rating prompt (whose last pieces are {alone}, and with the rating {joined}), so SelectIT cannot "
                    "read its probability. Rate with a model whose tokenizer splits digits, such as LLaMA-2."
                )
            if found.setdefault(rating, tail[0]) != tail[0]:
                raise UserError(
                    f"the tokenizer {tokenizer.name_or_path} writes the rating '{rating}' as different tokens after "
                    "different texts; rate with another model"
                )
    ids = [found[rating] for rating in range(1, NUM_RATINGS + 1)]
    if len(set(ids)) != NUM_RATINGS or tokenizer.unk_token_id in ids:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path} does not tell the ratings 1..{NUM_RATINGS} apart (ids {ids}); "
            "rate with another model"
        )
    return ids
