"""How a model reads the texts of a pool: fields that the `score` section shares with the stages made from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selectit.config.inputs import Backend, Quantization
from selectit.config.schema import Config, execution

LongRows = Literal["cut", "skip", "fail"]
"""cut: the response loses its end; skip: the row gets the failure `too_long`; fail: refused before anything starts."""
Turns = Literal["first", "last", "mean"]
"""Of a conversation: the first answer that is trained on, the last one, or the mean score of all."""
RatingTemplate = Literal["plain", "chat"]
"""plain: the released code's text; chat: the same as the user's turn of the rater's chat template, the answer begun."""


class ReadingFields(Config):
    """Of a score and of a losses stage."""

    max_length: int | None = Field(None, ge=32)
    """Tokens of a text at most. Default: no limit, as in the released code."""
    quantization: Quantization = "none"
    """Weights of the raters in 8 or 4 bits (bitsandbytes), for ratings and losses."""
    batch_tokens: int | None = execution(None, ge=1)
    """Tokens of one forward pass at most, padding included, halved where memory runs out. Default: by device."""
    num_processes: int | None = execution(None, ge=1)
    """Default: one per GPU; on CPU (Linux) of one thread each, one per core where the pool is large."""
    launcher: Literal["none", "external"] = execution("none")
    """What starts the processes that rate; none: the command; external: you do, on one node or many."""


class RatingFields(ReadingFields):
    """Of a score stage."""

    long_rows: LongRows = "cut"
    """A text beyond max_length loses the end of its response, its row is not rated, or nothing starts."""
    turns: Turns = "first"
    """Which answer of a conversation is rated. Losses always take all of its answers."""
    template: RatingTemplate = "plain"
    """The form of a rating text; chat is for raters that were trained to chat."""
    verify: int | None = execution(None, ge=2)
    """Rated rows that are rated again one at a time in float32 once the ledger stands; the report compares them."""
    backend: Backend = "transformers"
    """What computes the ratings. Losses of perplexity and ifd are always computed with transformers."""
    vllm_python: str | None = execution(None)
    """With backend vllm: an interpreter that has it. Default: the one that runs selectit."""
