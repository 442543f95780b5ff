"""A recipe file as it is written, and its arms."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from selectit.config.evaluate import EvaluateConfig
from selectit.config.finetune import FinetuneConfig
from selectit.config.inputs import ModelConfig, PoolConfig
from selectit.config.schema import Config, FileLocation, LocationMark, Seed, shipped
from selectit.config.score import ScoreConfig
from selectit.config.select import AnySelect, NeedsLosses, NeedsRatings, SelectDefaults

SHIPPED_NUMBERS = shipped("recipe/published")
"""The words in `published` for the files in selectit/recipe/published/, one for each paper."""
RUNS_FOLDERS = ("artifacts", "wandb", "logs", "jobs", "hashes.json")
"""What lies in a runs folder next to the reports; no report may have its name, in upper or lower case."""
PublishedLocation = Annotated[str, LocationMark(keywords=SHIPPED_NUMBERS)]


class SeedsConfig(Config):
    select: tuple[Seed, ...] = Field((42,), min_length=1)
    train: tuple[Seed, ...] = Field((42,), min_length=1)
    eval: tuple[Seed, ...] = Field((42,), min_length=1)
    combine: Literal["all", "in_step"] = "all"
    """all: every combination; in_step: the first of each list together, then the second; one value goes with all."""

    @model_validator(mode="after")
    def _lists_are_in_step(self) -> SeedsConfig:
        lengths = {len(seeds) for seeds in (self.select, self.train, self.eval) if len(seeds) > 1}
        if self.combine == "in_step" and len(lengths) > 1:
            raise ValueError(
                f"combine is in_step, and the lists have {len(self.select)} (select), {len(self.train)} (train) and "
                f"{len(self.eval)} (eval) seeds; give each as many as the others, or one"
            )
        return self

    @model_validator(mode="after")
    def _each_combination_once(self) -> SeedsConfig:
        twice = [seeds for seeds, times in Counter(self.combinations).items() if times > 1]
        if twice:
            select, train, eval_ = twice[0]
            raise ValueError(
                f"select {select}, train {train}, eval {eval_} comes up twice and would be one run; give each seed once"
            )
        return self

    @property
    def combinations(self) -> tuple[tuple[int, int, int], ...]:
        """(select, train, eval) seeds of each repetition."""
        if self.combine == "all":
            return tuple(itertools.product(self.select, self.train, self.eval))
        number = max(map(len, (self.select, self.train, self.eval)))
        select, train, evaluate = (s * number if len(s) == 1 else s for s in (self.select, self.train, self.eval))
        return tuple(zip(select, train, evaluate, strict=True))


class WandbConfig(Config):
    enabled: bool = True
    project: str = "selectit"
    entity: str | None = None


class ArmConfig(Config):
    """One row of the table, every section resolved."""

    pool: PoolConfig
    model: ModelConfig
    score: ScoreConfig = ScoreConfig()
    select: AnySelect
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _curriculum_has_scores(self) -> ArmConfig:
        if self.finetune.order == "curriculum" and self.select.score_name() is None:
            raise ValueError(
                "finetune.order curriculum needs a strategy that scores rows (selectit strategies lists them), and "
                f"select.strategy is {self.select.strategy}; set finetune.order of this arm to shuffled"
            )
        return self

    @model_validator(mode="after")
    def _strata_are_those_of_a_column(self) -> ArmConfig:
        if getattr(self.select, "stratify", None) is not None and self.pool.stratify_by is None:
            raise ValueError("select.stratify needs a column of the pool; name it in pool.stratify_by (--stratify-by)")
        return self

    @model_validator(mode="after")
    def _checkpoints_are_those_of_epochs(self) -> ArmConfig:
        finetune = self.finetune
        if self.evaluate.checkpoints == "all" and (finetune.budget != "rows" or finetune.max_steps is not None):
            raise ValueError(
                "evaluate.checkpoints all evaluates after every epoch of finetune.num_train_epochs; with max_steps or "
                "another budget the number of epochs depends on the subset. Set evaluate.checkpoints to last"
            )
        return self

    @property
    def raters(self) -> tuple[ModelConfig, ...]:
        """Models that rate the arm's pool or take its losses: all of `score.models` where the strategy combines raters,
        else the first; the arm's own where none is named. None for a strategy that reads neither.
        """
        read = [one for one in self.select.all_needs() if isinstance(one, NeedsRatings | NeedsLosses)]
        if not read:
            return ()
        models = self.score.models or (self.model,)
        if self.score.dtype is not None:
            models = tuple(model.model_copy(update={"dtype": self.score.dtype}) for model in models)
        return models if any(isinstance(one, NeedsRatings) and one.by_all_raters for one in read) else models[:1]


class PrimaryConfig(Config):
    """The one comparison that the table is made for; it is named before the runs and tested without a correction."""

    row: str
    """An arm, or a row's label where a grid makes several rows of it."""
    against: str
    """One of `baselines`."""
    on: str = "average"
    """A benchmark, or `average`."""


class RecipeConfig(Config):
    """A recipe file as it is written; `selectit.recipe.load.load` reads one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the results folder and the W&B group."""
    description: str = ""
    """Shown at the top of the report."""
    demonstration: bool = False
    """True: the report states that its numbers show the machinery and are not a result."""
    extends: str | None = None
    """A parent recipe, relative to this file; sections merge, lists replace."""
    plugins: tuple[FileLocation, ...] = ()
    """Python files with strategies that are not this project's."""
    pool: PoolConfig
    model: ModelConfig
    score: ScoreConfig = ScoreConfig()
    select: SelectDefaults = SelectDefaults()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    """Rows of the table: name -> the sections (pool, model, score, select, finetune, evaluate) that differ."""
    grid: dict[str, tuple[Any, ...]] = Field({})
    """Dotted key -> values; every arm that the key changes is repeated for each value."""
    seeds: SeedsConfig = SeedsConfig()
    baselines: tuple[str, ...] = Field(min_length=1)
    """The arms that every row is compared with; the table's differences and marks are those to the first."""
    primary: PrimaryConfig | None = None
    """The comparison that is tested alone; all others are corrected for their number."""
    margin: float = Field(2.0, gt=0, allow_inf_nan=False)
    """Points within which two rows are equivalent, and a result agrees with a published one."""
    published: tuple[PublishedLocation, ...] | PublishedLocation | None = None
    """Published results that the report compares with ours: names of papers that ship, or files of the same form."""
    wandb: WandbConfig = WandbConfig()

    @field_validator("name")
    @classmethod
    def _is_no_folder_of_the_runs_folder(cls, value: str) -> str:
        if value.lower() in RUNS_FOLDERS:
            raise ValueError(
                f"'{value}' names the report's folder, and that name is taken in a runs folder; choose "
                f"another than {', '.join(RUNS_FOLDERS)}"
            )
        return value

    @property
    def published_files(self) -> tuple[str, ...]:
        """The names and files of `published`, one or a list."""
        return (self.published,) if isinstance(self.published, str) else self.published or ()
