"""The `score` section, and the configuration of a score stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from selectit.config.inputs import Backend, ModelConfig, PoolConfig, Quantization
from selectit.config.schema import Config, LocationMark, execution

NUM_RATINGS = 5
"""Rating tokens "1".."5"; K in the paper's token-level formula."""

DEFAULT_RATING_PROMPTS = "default"
"""The rating prompts that this project ships, in its own words."""

LongRows = Literal["cut", "skip", "fail"]
"""cut: the response loses its end; skip: the row gets the failure `too_long`; fail: refused before anything starts."""

Turns = Literal["first", "last", "mean"]
"""Of a conversation: the first answer that is trained on, the last one, or the mean score of all."""
RatingTemplate = Literal["plain", "chat"]
"""plain: the released code's text; chat: the same as the user's turn of the rater's chat template, the answer begun."""


class ScoreConfig(Config):
    models: tuple[ModelConfig, ...] | None = Field(None, min_length=1)
    """Raters. Token and sentence level use the first. Default: each arm's own model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Number type in which raters read, the arm's own model too. Default: that of each model."""
    rating_prompts: Annotated[str, LocationMark(keywords=(DEFAULT_RATING_PROMPTS,))] = DEFAULT_RATING_PROMPTS
    """`default` (this project's own wording) or a text file with one rating prompt per line."""
    max_length: int | None = Field(None, ge=32)
    """Tokens of a rating text at most. Default: no limit, as in the released code."""
    long_rows: LongRows = "cut"
    """A text beyond max_length loses the end of its response, its row is not rated, or nothing starts."""
    turns: Turns = "first"
    """Which answer of a conversation is rated. Losses always take all of its answers."""
    template: RatingTemplate = "plain"
    """The form of a rating text; chat is for raters that were trained to chat."""
    quantization: Quantization = "none"
    """Weights of the raters in 8 or 4 bits (bitsandbytes), for ratings and losses."""
    batch_tokens: int | None = execution(None, ge=1)
    """Tokens of one forward pass at most, padding included, halved where memory runs out. Default: by device."""
    num_processes: int | None = execution(None, ge=1)
    """Default: one per GPU; on CPU (Linux) of one thread each, one per core where the pool is large."""

    launcher: Literal["none", "external"] = execution("none")
    """What starts the processes that rate; none: the command; external: you do, on one node or many."""
    verify: int | None = execution(None, ge=2)
    """Rated rows that are rated again one at a time in float32 once the ledger stands; the report compares them."""

    backend: Backend = "transformers"
    """What computes the ratings. Losses of perplexity and ifd are always computed with transformers."""
    vllm_python: str | None = execution(None)
    """With backend vllm: an interpreter that has it. Default: the one that runs selectit."""

    @model_validator(mode="after")
    def _limit_is_given(self) -> ScoreConfig:
        if self.long_rows != "cut" and self.max_length is None:
            raise ValueError(f"long_rows '{self.long_rows}' needs max_length, the tokens of a rating text at most")
        return self

    @model_validator(mode="after")
    def _one_dtype(self) -> ScoreConfig:
        for number, model in enumerate(self.models or ()):
            if self.dtype is not None and model.dtype not in ("auto", self.dtype):
                raise ValueError(
                    f"dtype is {self.dtype}, and models.{number} ({model.path}) has {model.dtype}; give the type once"
                )
        return self

    @model_validator(mode="after")
    def _quantised_here(self) -> ScoreConfig:
        if self.quantization != "none" and self.backend == "vllm":
            raise ValueError(
                f"quantization {self.quantization} is for backend transformers; vllm takes quantised checkpoints"
            )
        return self

    @model_validator(mode="after")
    def _python_has_a_use(self) -> ScoreConfig:
        if self.vllm_python is not None and self.backend != "vllm":
            raise ValueError(f"vllm_python is used with backend vllm only, and backend is {self.backend}")
        return self


class ScoreStage(Config):
    """One rater over one pool: the next-token probabilities of the rating tokens, for each rating prompt."""

    pool: PoolConfig
    model: ModelConfig
    prompts: tuple[str, ...]
    """What stands before `Instruction:`, line ends included, in the order of the rating-prompt file."""
    max_length: int | None = None
    long_rows: LongRows = "cut"
    turns: Turns = "first"
    template: RatingTemplate = "plain"
    quantization: Quantization = "none"
    batch_tokens: int | None = execution(None, ge=1)
    num_processes: int | None = execution(None, ge=1)
    launcher: Literal["none", "external"] = execution("none")
    verify: int | None = execution(None, ge=2)
    backend: Backend = "transformers"
    vllm_python: str | None = execution(None)
