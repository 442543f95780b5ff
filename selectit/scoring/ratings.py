"""Which token ids the ratings "1".."5" are, proven from the tokenizer instead of assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from selectit.config import NUM_RATINGS
from selectit.errors import UserError

PIECES_SHOWN = 4


@dataclass(frozen=True)
class RatingTokens:
    ids: list[int]
    text_alone: bool
    """The white space at the end of a text is other tokens once a rating follows, as where \" \\n\" is one piece at the
    end of a text and two in front of a digit. The ids of the text alone are read, as the released code does.
    """


def rating_token_ids(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[int]:
    """The id of each rating as the token that follows a rating text; see `rating_tokens`."""
    return rating_tokens(tokenizer, ((text, lambda text: list(tokenizer(text)["input_ids"])) for text in texts)).ids


def rating_tokens(
    tokenizer: PreTrainedTokenizerBase, endings: Iterable[tuple[str, Callable[[str], list[int]]]]
) -> RatingTokens:
    """What each rating is as the token that follows a rating text.

    Args:    endings: rating texts to prove it on, each with what makes ids of it; it is tokenised whole, with and
             without a rating behind it.
    Raises:  UserError naming the tokenizer, where a rating is not exactly one token there, or changes more of the
             tokens before it than how white space at their end is parted.
    """
    found: dict[int, int] = {}
    text_alone = False
    for text, encode in endings:
        before = encode(text)
        if tokenizer.eos_token_id is not None and before[-1] == tokenizer.eos_token_id:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path} ends every text with {tokenizer.eos_token!r}, so no "
                f"rating can follow; {_how_to_end_nothing(tokenizer)}"
            )
        for rating in range(1, NUM_RATINGS + 1):
            after = encode(f"{text}{rating}")
            exact = after[:-1] == before
            if not exact and not _parts_white_space_otherwise(tokenizer, before, after, rating):
                alone, joined = (tokenizer.convert_ids_to_tokens(ids[-PIECES_SHOWN:]) for ids in (before, after))
                raise UserError(
                    f"the tokenizer {tokenizer.name_or_path} does not write the rating '{rating}' as one token of its "
                    f"own after a rating prompt (whose last pieces are {alone}, and with the rating {joined}), so its "
                    "probability cannot be read. Rate with a model whose tokenizer does, such as LLaMA-2"
                )
            text_alone |= not exact
            if found.setdefault(rating, after[-1]) != after[-1]:
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
    return RatingTokens(ids, text_alone)


def _how_to_end_nothing(tokenizer: PreTrainedTokenizerBase) -> str:
    """Where the end token comes from: a setting, or the form of texts that a tokenizer.json was saved with."""
    if getattr(tokenizer, "add_eos_token", False):
        return "set add_eos_token to false in its tokenizer_config.json"
    return f"take {tokenizer.eos_token!r} out of the post_processor in its tokenizer.json"


def _parts_white_space_otherwise(
    tokenizer: PreTrainedTokenizerBase, before: list[int], after: list[int], rating: int
) -> bool:
    """Whether a rating is one token of its own, and the same text stands in front of it, parted otherwise in the white
    space at its end only.
    """

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    same = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    rests = text(before[same:]), text(after[same:-1])
    return (
        len(after) > same
        and text(after[-1:]).strip() == str(rating)
        and not any(rest.strip() for rest in rests)
        and text(after[:-1]) == text(before)
        and text(after) == text(before) + str(rating)
    )
