"""How many tokens each stage will read: counted where pool and tokenizer are here, else a stated assumption.

Reads pools and tokenizer files; the tokenizers library alone, never transformers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import jinja2
import numpy as np

from selectit.config import ModelConfig, PoolConfig
from selectit.data.pool import Row, read_pool
from selectit.data.turns import words
from selectit.inference.shape import model_file
from selectit.templates import OWN, chat_template, input_separator

CHARS_PER_TOKEN = 4
END = "</s>"
"""Of an answer: one token, whichever it is."""
SAMPLE_ROWS = 500
SAMPLE_SEED = 0
GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


@dataclass(frozen=True)
class Tokenizing:
    """Token ids of a text, int32 [num_tokens], and how they were made."""

    ids: Callable[[str], np.ndarray]
    how: str


@cache
def tokenizing(model: ModelConfig, as_text: bool = False) -> Tokenizing:
    """Args: as_text: read <s> in a row's own words as text, as a rating does, and not as a special token."""
    name = Path(model.path).name
    if (path := model_file(model, "tokenizer.json")) is not None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = as_text
        return Tokenizing(lambda text: np.array(tokenizer.encode(text).ids, np.int32), f"tokens of {name}'s tokenizer")
    if (path := model_file(model, "tokenizer.model")) is not None:
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_file=str(path))
        return Tokenizing(
            lambda text: np.array([pieces.bos_id(), *pieces.encode(text)], np.int32), f"tokens of {name}'s tokenizer"
        )
    how = f"{CHARS_PER_TOKEN} characters a token assumed: {name}'s tokenizer is neither here nor in the hub's cache"
    known: dict[str, int] = {}

    def ids(text: str) -> np.ndarray:
        parts = (text[start : start + CHARS_PER_TOKEN] for start in range(0, len(text), CHARS_PER_TOKEN))
        return np.array([known.setdefault(part, len(known)) for part in parts], np.int32)

    return Tokenizing(ids, how)


@cache
def pool_rows(pool: PoolConfig) -> tuple[Row, ...]:
    """The rows that can be used. Raises: UserError where the pool cannot be read."""
    return tuple(row for row in read_pool(pool) if row.failure is None)


@dataclass(frozen=True)
class Drawn:
    """Rows that stand for all rows of a stage."""

    rows: list[Row]
    num_rows: int
    """All of them."""

    @property
    def times(self) -> float:
        return self.num_rows / len(self.rows) if self.rows else 1.0

    @property
    def how(self) -> str:
        num_drawn = len(self.rows)
        return f"{num_drawn} of {self.num_rows} rows" if num_drawn < self.num_rows else f"all {num_drawn} rows"


def draw(rows: Sequence[Row]) -> Drawn:
    few = len(rows) <= SAMPLE_ROWS
    return Drawn(list(rows) if few else random.Random(SAMPLE_SEED).sample(list(rows), SAMPLE_ROWS), len(rows))


def distinct(rows: Sequence[Row], text_of: Callable[[Row], Hashable]) -> list[Row]:
    """The first row of each text."""
    return list({text_of(row): row for row in reversed(rows)}.values())[::-1]


@dataclass(frozen=True)
class RowTokens:
    """Of one row."""

    mean: float
    mean_square: float
    """Each token attends to those in front of it, so attention grows with the square."""
    how: str


@cache
def tokens_per_row(
    pool: PoolConfig, model: ModelConfig, template: str, max_length: int | None, longest: float | None = None
) -> RowTokens:
    """Of rows in a template, cut at max_length.

    Args: longest: of a selection by length, the share that is taken.
    """
    drawn, tokens = draw(pool_rows(pool)), tokenizing(model)
    rows = drawn.rows
    if longest is not None:
        rows = sorted(rows, key=lambda row: -len(row.response))[: max(1, round(longest * len(rows)))]
    render = renderer(template)
    lengths = [len(tokens.ids(render(row))[:max_length]) for row in rows]
    return RowTokens(fmean(lengths), fmean(n**2 for n in lengths), f"{tokens.how}, {drawn.how}")


def renderer(template: str) -> Callable[[Row], str]:
    """A row as training text; `chat` and files, which may need the tokenizer, are taken as the bare turns."""
    separator = input_separator(template)
    if template not in OWN:
        return lambda row: "\n".join(words(m, separator) for m in row.messages)
    compiled = jinja2.Template(GENERATION_TAG.sub("", chat_template(template)))

    def render(row: Row) -> str:
        messages = [{"role": m["role"], "content": words(m, separator)} for m in row.messages]
        return compiled.render(messages=messages, bos_token="", eos_token=END)

    return render
