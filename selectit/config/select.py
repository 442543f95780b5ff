"""The `select` section and the configuration of a select stage.

What a strategy's own fields are stands in its module in `selectit/selection/strategies/`, or in a plugin; which class
reads a section is said by the registry, which whoever reads a file hands in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from selectit.config.inputs import ModelConfig, PoolConfig
from selectit.config.losses import LossQuantity, LossText, Pooling, SelectTemplate
from selectit.config.schema import Config, Seed

Ratio = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class NeedsRatings:
    """A strategy reads ratings of every row, which a score stage makes; `pool.inputs` has its folders."""

    num_prompts: int | None
    """The first K rating prompts of the file; None: one, drawn with the selection seed."""
    fidelity: Literal["paper", "released_code", "corrected"] = "corrected"
    by_all_raters: bool = False
    """Of all of `score.models`; else of the first."""

    def __str__(self) -> str:
        return "ratings by a model"


@dataclass(frozen=True)
class NeedsModelOfArm:
    """A strategy reads with the model that another arm trained, of its first training seed."""

    field: str
    """The field that names the arm."""
    arm: str

    def __str__(self) -> str:
        return "the model of another arm"


@dataclass(frozen=True)
class NeedsLosses:
    """A strategy reads losses of every row, which a losses stage makes; `pool.losses(name)` has them.

    All that the arms of a recipe ask of one text comes out of one forward pass: with another arm's entropy or features
    it costs no pass of its own.
    """

    name: str
    text: LossText
    template: SelectTemplate = "training"
    """The form in which rows are read; training: that of `finetune.template`."""
    entropy: bool = False
    """The entropies of the next-token distributions, too."""
    model_of: NeedsModelOfArm | None = None
    """The arm whose trained model reads; None: the first of `score.models`, else the arm's own model as it is."""

    @property
    def quantities(self) -> tuple[LossQuantity, ...]:
        return ("loss", "entropy") if self.entropy else ("loss",)

    def __str__(self) -> str:
        return "losses of a model" if self.model_of is None else "losses of another arm's model"


@dataclass(frozen=True)
class NeedsFeatures(NeedsLosses):
    """A strategy reads one vector of every row, from a model's last hidden states; `pool.features(name)` has them."""

    text: LossText = "conditioned"
    pooling: Pooling = "weighted_mean"

    @property
    def quantities(self) -> tuple[LossQuantity, ...]:
        return (self.pooling,)

    def __str__(self) -> str:
        return "features by a model"


@dataclass(frozen=True)
class NeedsArm:
    """A strategy reads what another arm selected; `pool.taken_by(field)` has it."""

    field: str
    """The field that names the arm."""
    arm: str
    leaves_out: bool = False
    """None of the other arm's rows is taken."""

    def __str__(self) -> str:
        return "what another arm selected"


@dataclass(frozen=True)
class NeedsTokenizer:
    """A strategy reads the tokenizer of the arm's model; `pool.tokenizer()` has it."""

    def __str__(self) -> str:
        return "the model's tokenizer"


Need = NeedsRatings | NeedsLosses | NeedsModelOfArm | NeedsArm | NeedsTokenizer
"""What a strategy reads next to the pool. `selectit/plan/stages.py` turns each into stages."""


class GrownConfig(Config):
    """A configuration whose class says which of its fields were added later."""

    later_defaults: ClassVar[Mapping[str, Any]] = {}
    """Fields that were added after the class was first used -> their defaults then, as JSON. Such a field is left out
    of a fingerprint where it stands at that default, so that finished work stays finished."""

    @classmethod
    def first_fields(cls) -> frozenset[str]:
        later = {name for base in cls.__mro__ for name in vars(base).get("later_defaults", {})}
        return frozenset(cls.model_fields) - later


class SelectFields(GrownConfig, ABC):
    """The fields of one strategy; `selectit.selection.strategy.Strategy` has what it does."""

    strategy: str
    """Its name."""

    def needs(self) -> tuple[Need, ...]:
        """What it reads next to the pool."""
        return ()

    def all_needs(self) -> tuple[Need, ...]:
        """The same, and what is read by a step behind its scores."""
        return self.needs()

    @abstractmethod
    def score_name(self) -> str | None:
        """What its score of a row is, as the axis of a plot; None: a score says nothing of a row."""


ReadSelect = Callable[[Mapping[str, Any]], SelectFields]
"""From a `select` section as it is written to a strategy."""
READ_SELECT = "read_select"
"""Key of a `ReadSelect` in the context of a validation."""


def _read(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if not isinstance(value, Mapping):
        return handler(value)  # a strategy, or what cannot be one
    read: ReadSelect | None = (info.context or {}).get(READ_SELECT)
    if read is None:
        raise ValueError("a select section is read by a registry (selectit.selection.registry)")
    return read(value)


AnySelect = Annotated[SerializeAsAny[SelectFields], WrapValidator(_read)]


class SelectDefaults(Config):
    """What all arms share; an arm's own `select` section wins."""

    ratio: Ratio = 0.2


class SelectStage(Config):
    """One subset of one pool."""

    pool: PoolConfig
    select: AnySelect
    seed: Seed | None = None
    """Only for strategies that draw."""
    tokenizer: ModelConfig | None = None
    """Only for strategies that read it."""
    prompts: tuple[str, ...] = ()
    """Of ratings: the rating prompts whose ratings are combined, in order."""
    keeps_scores: bool = False
    """messages.jsonl holds each row's score, for a training in the order of scores."""
    theta: tuple[float | None, ...] = ()
    """Of ratings: parameters of each rater in billions; None: as counted by its score stage."""
