"""How many tokens each stage will read: counted where pool and tokenizer are here, else a stated assumption.

Reads pools, tokenizer files and finished evaluations; the tokenizers library alone, never transformers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import jinja2

from selectit.config import ModelConfig, PoolConfig, ScoreStage, Turns
from selectit.data.pool import Row, read_pool
from selectit.inference.shape import model_file
from selectit.scoring.prompts import rating_text
from selectit.scoring.rated_rows import rated_rows
from selectit.templates import OWN, chat_template, input_separator

CHARS_PER_TOKEN = 4.0
SAMPLE_ROWS = 500
SAMPLE_SEED = 0
GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


@dataclass(frozen=True)
class Counter:
    """Tokens of a text, and how they are counted."""

    count: Callable[[str], float]
    how: str


@cache
def counter(model: ModelConfig) -> Counter:
    name = Path(model.path).name
    if (path := model_file(model, "tokenizer.json")) is not None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        return Counter(lambda text: len(tokenizer.encode(text).ids), f"tokens of {name}'s tokenizer")
    if (path := model_file(model, "tokenizer.model")) is not None:
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_file=str(path))
        return Counter(lambda text: len(pieces.encode(text)) + 1, f"tokens of {name}'s tokenizer")
    how = f"{CHARS_PER_TOKEN:g} characters a token assumed: {name}'s tokenizer is neither here nor in the hub's cache"
    return Counter(lambda text: len(text) / CHARS_PER_TOKEN, how)


@cache
def pool_rows(pool: PoolConfig) -> tuple[Row, ...]:
    """The rows that can be used. Raises: UserError where the pool cannot be read."""
    return tuple(row for row in read_pool(pool) if row.failure is None)


@cache
def rated(pool: PoolConfig, turns: Turns) -> tuple[Row, ...]:
    """What of them a rater reads. Raises: as `pool_rows`."""
    return tuple(row for row in rated_rows(pool, turns) if row.failure is None)


def sample(rows: Sequence[Row]) -> list[Row]:
    return list(rows) if len(rows) <= SAMPLE_ROWS else random.Random(SAMPLE_SEED).sample(list(rows), SAMPLE_ROWS)


@cache
def rating_tokens(config: ScoreStage) -> tuple[float, str]:
    """Tokens of all rating texts of a score stage.

    Returns: the number, and how it was counted.
    """
    rows, tokens = rated(config.pool, config.turns), counter(config.model)
    drawn = sample(rows)
    limit = config.max_length or float("inf")
    per_row = fmean(
        sum(min(limit, tokens.count(rating_text(p, row.instruction, row.response))) for p in config.prompts)
        for row in drawn
    )
    return per_row * len(rows), f"{tokens.how}, {_drawn(drawn, rows)}"


@cache
def tokens_per_row(
    pool: PoolConfig, model: ModelConfig, template: str, max_length: int | None, longest: float | None = None
) -> tuple[float, str]:
    """Mean tokens of a row in a template, cut at max_length.

    Args: longest: of a selection by length, the share that is taken.
    """
    rows, tokens = pool_rows(pool), counter(model)
    drawn = sample(rows)
    if longest is not None:
        drawn = sorted(drawn, key=lambda row: -len(row.response))[: max(1, round(longest * len(drawn)))]
    render, limit = _renderer(template), max_length or float("inf")
    lengths = [min(limit, tokens.count(render(row))) for row in drawn]
    return fmean(lengths), f"{tokens.how}, {_drawn(drawn, rows)}"


def _renderer(template: str) -> Callable[[Row], str]:
    """A row as training text; `chat` and files, which may need the tokenizer, are taken as the bare turns."""
    separator = input_separator(template)
    if template not in OWN:
        return lambda row: "\n".join(_content(m, separator) for m in row.messages)
    compiled = jinja2.Template(GENERATION_TAG.sub("", chat_template(template)))

    def render(row: Row) -> str:
        messages = [{"role": m["role"], "content": _content(m, separator)} for m in row.messages]
        return compiled.render(messages=messages, bos_token="", eos_token="</s>")

    return render


def _content(message: dict[str, str], separator: str) -> str:
    return message["content"] + (separator + message["input"] if message.get("input") else "")


def _drawn(drawn: Sequence[Row], rows: Sequence[Row]) -> str:
    return f"{len(drawn)} of {len(rows)} rows" if len(drawn) < len(rows) else f"all {len(rows)} rows"
