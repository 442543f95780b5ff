"""The `score` section, and the configuration of a score stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from selectit.config.inputs import ModelConfig, PoolConfig
from selectit.config.reading import RatingFields
from selectit.config.schema import LocationMark

NUM_RATINGS = 5
"""Rating tokens "1".."5"; K in the paper's token-level formula."""

DEFAULT_RATING_PROMPTS = "default"
"""The rating prompts that this project ships, in its own words."""


class ScoreConfig(RatingFields):
    models: tuple[ModelConfig, ...] | None = Field(None, min_length=1)
    """Raters. Token and sentence level use the first. Default: each arm's own model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Number type in which raters read, the arm's own model too. Default: that of each model."""
    rating_prompts: Annotated[str, LocationMark(keywords=(DEFAULT_RATING_PROMPTS,))] = DEFAULT_RATING_PROMPTS
    """`default` (this project's own wording) or a text file with one rating prompt per line."""

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


class ScoreStage(RatingFields):
    """One rater over one pool: the next-token probabilities of the rating tokens, for each rating prompt."""

    pool: PoolConfig
    model: ModelConfig
    prompts: tuple[str, ...]
    """What stands before `Instruction:`, line ends included, in the order of the rating-prompt file."""
