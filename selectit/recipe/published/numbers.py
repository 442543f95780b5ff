"""What is known of one published number: its value, and every setting that a comparison with ours depends on.

None always means unknown, never a default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from selectit.config import (
    BenchmarkConfig,
    Config,
    FinetuneConfig,
    JudgeConfig,
    LoraSettings,
    Ratio,
    SampleConfig,
    ScoreConfig,
    is_execution,
)
from selectit.errors import did_you_mean
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.selection.registry import shipped

UNTRAINED = "none"
"""As `strategy`: the model as it is, with nothing selected and nothing trained."""
AVERAGE = "average"
"""As `benchmark`: the mean of several, which is kept and never compared; the numbers that it is made of are."""
OF_TRAINING = (
    "pool", "pool_rows", "pool_sample", "pool_limit", "ratio", "select", "raters", "rating_prompts", "score",
    "finetune",
)  # fmt: skip
"""What a number of an untrained model does not have."""
HIGHEST = {"percent": 100.0, "fraction": 1.0}
CONTENT = re.compile(r"sha256:[0-9a-f]{64}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class PublishedJudge(Config):
    """Who judged the answers, and against what."""

    model: str | None = None
    """As its endpoint names it, such as gpt-4o-2024-08-06; of a judge in the process: hub id or `sha256:`."""
    prompt: str | None = Field(None, pattern=rf"^{CONTENT.pattern}$")
    """`sha256:` of the judge's prompt, as result.json has it."""
    reference: str | None = None
    """The model whose answers are the reference, such as gpt4_1106_preview, or `sha256:` of them."""
    verdict: Literal["logprobs", "text"] | None = None
    """As evaluate.judge.verdict: a weighted win rate or a plain one. Of an endpoint, and not of Arena-Hard."""
    settings: dict[str, Any] = Field({})
    """Other fields of `evaluate.judge`. Those that are left out are taken to be our defaults: OpenAI's endpoint,
    temperature 0."""

    @model_validator(mode="after")
    def _settings_are_ours(self) -> PublishedJudge:
        _check(JudgeConfig, self.settings, "judge.settings", without=("model", "prompt", "verdict"))
        return self


class PublishedNumber(Config):
    """One number of a paper. A field that is left out is unknown."""

    benchmark: str | None = None
    """One of ours, `average`, or another one, which is never compared."""
    subset: Literal["instruction_length", "calculation_rows"] | None = None
    """A property of what was selected, in place of a benchmark."""
    value: float = Field(allow_inf_nan=False)
    unit: Literal["percent", "fraction", "number"]
    """percent: of 100, also BLEU and COMET as they are mostly printed; fraction: of 1; number: another scale."""
    arm: str
    """As the paper calls it."""
    setting: str = ""
    """In words: what else is known of it, and what is not."""
    table: str | None = None
    """Where it stands in the paper."""
    strategy: str | None = None
    """The select.strategy that it stands for; `none`: the untrained model; None: none of ours."""
    select: dict[str, Any] = Field({})
    """Fields of that strategy, as in a recipe."""
    raters: tuple[str, ...] | None = None
    """Models that rate, or whose losses select: hub ids or `sha256:`."""
    rating_prompts: str | None = Field(None, pattern=rf"^(default|authors|{CONTENT.pattern})$")
    """`default` (ours), `authors` (those of the released code), or `sha256:` of a file with others."""
    score: dict[str, Any] = Field({})
    """Other fields of `score`, such as max_length where rating texts were cut."""
    model: str | None = None
    """The base model: its full hub id, or `sha256:` as the report lists it under its inputs. A bare name is unknown."""
    pool: str | None = None
    """The pool: full hub id or `sha256:`. A bare name is unknown."""
    pool_rows: int | None = Field(None, ge=1)
    """Rows of the pool."""
    pool_sample: SampleConfig | None = None
    """As pool.sample, where these rows were drawn by this project; None with pool_limit None: the whole pool, or a part
    that is not known."""
    pool_limit: int | None = Field(None, ge=1)
    """As pool.limit."""
    ratio: Ratio | None = None
    """Share of the pool that was selected; 1 is the whole pool, 0.25 is 25 %."""
    training: Literal["lora", "qlora", "full", "none"] | None = None
    """As finetune.method."""
    finetune: dict[str, Any] = Field({})
    """Other fields of `finetune`, as in a recipe."""
    data: str | None = None
    """The benchmark's data: hub id, or `sha256:` as the report lists it. None: not compared."""
    profile: str | None = None
    """An evaluation profile that is exactly what was run: a name, or a YAML file next to this one."""
    evaluate: dict[str, Any] = Field({})
    """Fields of a benchmark's entry in a profile that are known where no profile is; filled from `profile`."""
    metric: str | None = None
    """As result.json spells it."""
    items: int | None = Field(None, ge=1)
    """Items that the number is measured on."""
    limit: int | None = Field(None, ge=1)
    """Items per task at most; None: no limit, as papers have it."""
    judge: PublishedJudge | None = None
    num_seeds: int | None = Field(None, ge=1)
    """Training runs that the value is a mean of."""
    std: float | None = Field(None, ge=0)
    """Sample standard deviation over them, in the unit of the value."""

    @property
    def what(self) -> str:
        return self.benchmark or str(self.subset)

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be in percent."""
        return 100.0 if self.unit == "fraction" else 1.0

    @model_validator(mode="after")
    def _is_a_number_of_something(self) -> PublishedNumber:
        if (self.benchmark is None) == (self.subset is None):
            raise ValueError("give one of benchmark and subset")
        for name in benchmarks() if self.benchmark not in (None, *benchmarks()) else ():
            if _letters(name) == _letters(str(self.benchmark)):
                raise ValueError(f"benchmark {self.benchmark} is spelled {name} here")
        if self.unit in HIGHEST and not 0 <= self.value <= HIGHEST[self.unit]:
            raise ValueError(
                f"value {self.value:g} with unit {self.unit} lies outside 0 to {HIGHEST[self.unit]:g}; units are "
                "percent (of 100), fraction (of 1) and number (another scale)"
            )
        if self.std is not None and (self.num_seeds is None or self.num_seeds < 2):
            raise ValueError("std is over training runs; give num_seeds, at least 2, with it")
        return self

    @model_validator(mode="after")
    def _settings_are_ours(self) -> PublishedNumber:
        strategies = shipped()
        if self.strategy not in (None, UNTRAINED, *strategies):
            near = did_you_mean(str(self.strategy), strategies)
            raise ValueError(
                f"strategy '{self.strategy}' is not a strategy.{near} Allowed: {UNTRAINED}, {', '.join(strategies)}; "
                "leave it out where none of ours is meant"
            )
        own = strategies.get(str(self.strategy))
        if (self.strategy == UNTRAINED) != (self.training == "none"):
            raise ValueError(f"strategy {self.strategy} and training {self.training}: write none for both or neither")
        if self.training == "none" and (has := [name for name in OF_TRAINING if getattr(self, name)]):
            raise ValueError(
                f"an untrained model has no {', '.join(has)}; leave {'it' if len(has) == 1 else 'them'} out"
            )
        if own is not None and own.takes_all and self.ratio not in (None, 1):
            raise ValueError(f"strategy {self.strategy} takes the whole pool, and ratio is {self.ratio:g}; write 1")
        if self.select and self.strategy is None:
            raise ValueError("select holds fields of a strategy; name it in strategy")
        if own is not None:
            _check(own, self.select, "select", without=("strategy", "ratio"))
        _check(ScoreConfig, self.score, "score", without=("models", "rating_prompts"))
        _check(FinetuneConfig, self.finetune, "finetune", without=("method", "micro_batch_size"))
        _check(BenchmarkConfig, self.evaluate, "evaluate", without=("name", "metric", "revision"))
        return self


class Published(Config):
    """The numbers of one paper."""

    source: str
    """The paper, as a reader finds it."""
    numbers: tuple[PublishedNumber, ...]

    @property
    def paper(self) -> str:
        """Its short name: the source up to the first bracket."""
        return self.source.partition(" (")[0].strip()


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _check(schema: type[Config], given: Mapping[str, Any], where: str, without: tuple[str, ...] = ()) -> None:
    """Raises: ValueError for a key that is not a field of the schema, or a value that the field does not allow."""
    allowed = {k: info for k, info in schema.model_fields.items() if k not in without and not is_execution(info)}
    for key, value in given.items():
        if key not in allowed:
            raise ValueError(
                f"{where}.{key}: unknown key.{did_you_mean(key, allowed)} Allowed here: {', '.join(allowed) or 'none'}"
            )
        if key == "lora" and isinstance(value, Mapping):
            _check(LoraSettings, value, f"{where}.lora")
            continue
        field: Any = Annotated[allowed[key].annotation, allowed[key]]
        try:
            TypeAdapter(field).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{where}.{key}: {error.errors()[0]['msg']} (found {value!r:.60})") from error
