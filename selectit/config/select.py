"""The `select` section, one class for each strategy, and the configuration of a select stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from selectit.config.inputs import ModelConfig, PoolConfig
from selectit.config.losses import SelectTemplate
from selectit.config.schema import Config, Seed, execution

Ratio = Annotated[float, Field(gt=0, le=1)]


class FullSelect(Config):
    strategy: Literal["full"]


class RandomSelect(Config):
    strategy: Literal["random"]
    """Uniform without replacement over row ids, with the selection seed."""
    ratio: Ratio = 0.2


class RandomRestSelect(Config):
    strategy: Literal["random_rest"]
    """Uniform without replacement among the rows that another arm did not take."""
    ratio: Ratio = 0.2
    rest_of: str = execution(...)
    """Name of the arm whose selection is left out; the identity holds what it selected, not its name."""


class Length(Config):
    """What the length of a row is."""

    field: Literal["response", "instruction", "full"] = "response"
    unit: Literal["tokens", "chars", "words"] = "tokens"
    """tokens: of the base model's tokenizer, without special tokens."""


class LengthSelect(Length):
    strategy: Literal["length"]
    """The longest rows."""
    ratio: Ratio = 0.2


class RandomMatchedSelect(Length):
    strategy: Literal["random_matched"]
    """Uniform among rows of the same length: as many rows as another arm took, with its distribution of lengths."""
    match: str = execution(...)
    """Name of the arm whose lengths are matched; the identity holds what it selected, not its name."""
    num_bins: int = Field(20, ge=1)
    """Bins of length, each with about as many rows of the other arm."""


class SelectITSelect(Config):
    strategy: Literal["selectit"]
    ratio: Ratio = 0.2
    level: Literal["token", "sentence", "model"] = "sentence"
    alpha: float = Field(0.2, ge=0)
    """Weight of the disagreement between rating prompts (sentence and model level)."""
    num_rating_prompts: int = Field(5, ge=1)
    """The first K rating prompts of the file (sentence and model level)."""
    fidelity: Literal["paper", "released_code", "corrected"] = "corrected"
    """Which reading of the method where the paper and its code differ; docs/methods.md has the table."""


class PerplexitySelect(Config):
    strategy: Literal["perplexity"]
    """By the model's loss on each row."""
    ratio: Ratio = 0.2
    order: Literal["top", "mid", "low"] = "top"
    """top: the highest perplexities; mid: those from rank int(0.33 n) on, highest first; low: the lowest."""
    over: Literal["response", "full"] = "response"
    """response: mean over the response tokens; full: over all tokens of the row, its prompt too."""
    template: SelectTemplate = "training"
    """The form in which the row is read; training: that of `finetune.template`."""


class IFDSelect(Config):
    strategy: Literal["ifd"]
    """By instruction-following difficulty: how little the instruction helps to predict the response."""
    ratio: Ratio = 0.2
    form: Literal["loss_ratio", "perplexity_ratio"] = "loss_ratio"
    """Given the instruction over without it: of mean losses (Cherry) or of perplexities (Superfiltering)."""
    unconditioned: Literal["marker", "bare"] = "marker"
    """The response without its instruction: behind the template's response marker (Cherry), or alone
    (Superfiltering)."""
    template: SelectTemplate = "training"
    """The form in which the row is read; training: that of `finetune.template`."""


SelectConfig = Annotated[
    FullSelect
    | RandomSelect
    | RandomRestSelect
    | LengthSelect
    | RandomMatchedSelect
    | SelectITSelect
    | PerplexitySelect
    | IFDSelect,
    Discriminator("strategy"),
]


def other_arm(select: SelectConfig) -> tuple[str, str] | None:
    """The field that names the arm whose subset a strategy reads, and that arm's name."""
    if isinstance(select, RandomRestSelect):
        return "rest_of", select.rest_of
    if isinstance(select, RandomMatchedSelect):
        return "match", select.match
    return None


SEEDED_STRATEGIES = ("random", "random_rest", "random_matched")


class SelectDefaults(Config):
    """What all arms share; an arm's own `select` section wins."""

    ratio: Ratio = 0.2


class SelectStage(Config):
    """One subset of one pool."""

    pool: PoolConfig
    select: SelectConfig
    seed: Seed | None = None
    """Only for strategies that draw."""
    tokenizer: ModelConfig | None = None
    """Only for lengths in tokens."""
    prompts: tuple[str, ...] = ()
    """selectit: the rating prompts whose ratings are combined, in order."""
    keeps_scores: bool = False
    """messages.jsonl holds each row's score, for a training in the order of scores."""
    theta: tuple[float | None, ...] = ()
    """selectit at model level: parameters of each rater in billions; None: as counted by its score stage."""
