"""The schema: what may stand in a recipe, section by section.

Every class is frozen and refuses unknown keys. A field is part of a stage's identity (and so of its
fingerprint) unless it is made with `execution()`; a `Location` enters the identity by the content it
names, never by its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, model_validator
from pydantic.fields import FieldInfo

NUM_RATINGS = 5
"""Rating tokens "1".."5"; K in the paper's token-level formula."""

DEFAULT_RATING_PROMPTS = "default"
"""The rating prompts that this project ships, in its own words."""


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)

    def location_files(self, field: str) -> list[Path] | None:
        """The files of a location that this configuration reads; None: all of them."""
        return None


@dataclass(frozen=True)
class LocationMark:
    """Marks a text field as a path, which is read relative to the file that holds it."""

    keywords: tuple[str, ...] = ()
    """Words that are not paths, such as `hub`."""
    prefixes: tuple[str, ...] = ()
    """Prefixes in front of the path, such as `hf:`."""

    def strip(self, value: str) -> str:
        """The path in a value, without its prefix."""
        return next((value.removeprefix(p) for p in self.prefixes if value.startswith(p)), value)


def location_mark(field: FieldInfo) -> LocationMark | None:
    """The mark of a field that holds a location, optional ones included."""
    metadata = [*field.metadata, *(m for arg in get_args(field.annotation) for m in getattr(arg, "__metadata__", ()))]
    return next((m for m in metadata if isinstance(m, LocationMark)), None)


def nested_configs(field: FieldInfo) -> list[type[Config]]:
    """The configurations in a field's annotation: its own, or those of its union or tuple."""

    def leaves(annotation: Any) -> list[Any]:
        return [annotation, *(leaf for argument in get_args(annotation) for leaf in leaves(argument))]

    return [leaf for leaf in leaves(field.annotation) if isinstance(leaf, type) and issubclass(leaf, Config)]


Location = Annotated[str, LocationMark()]
"""A file or folder, or a hub id where no such file or folder exists."""


def execution(default: Any, **kwargs: Any) -> Any:
    """A field that changes how a stage runs and never what comes out of it."""
    return Field(default, json_schema_extra={"execution": True}, **kwargs)


class PoolConfig(Config):
    path: Location
    """JSON, JSONL or Parquet file, or a hub dataset id."""
    revision: str | None = None
    """Commit, tag or branch of a hub dataset; resolved to a commit before anything runs."""
    split: str = "train"
    """Split of a hub dataset; a file has none."""
    format: Literal["auto", "alpaca", "sharegpt", "messages"] = "auto"
    """alpaca: instruction/input/output; sharegpt: conversations[from,value]; messages: messages[role,content]."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows, in file order."""
    bad_rows: Literal["refuse", "exclude"] = "refuse"
    """A row with an empty instruction or response: stop, or never score and never select it."""


class ModelConfig(Config):
    path: Location
    """Folder of a Hugging Face checkpoint with its tokenizer, or a hub model id."""
    revision: str | None = None
    """Commit, tag or branch of a hub model; resolved to a commit before anything runs."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: float32 on CPU, bfloat16 on GPU. What was used is in the manifest."""
    parameters_in_billions: float | None = execution(None, gt=0)
    """theta of the model-level score, part of the identity of a selection only; counted where it is not given."""


class ScoreConfig(Config):
    models: tuple[ModelConfig, ...] | None = Field(None, min_length=1)
    """Raters. Token and sentence level use the first. Default: the recipe's `model`."""
    rating_prompts: Annotated[str, LocationMark(keywords=(DEFAULT_RATING_PROMPTS,))] = DEFAULT_RATING_PROMPTS
    """`default` (this project's own wording) or a text file with one rating prompt per line."""
    max_length: int | None = Field(None, ge=32)
    """Tokens of a rating text at most: longer responses lose their end. Default: no limit, as in the released code."""
    batch_tokens: int | None = execution(None, ge=1)
    """Tokens of one forward pass at most, padding included, halved where memory runs out. Default: by device."""
    num_processes: int | None = execution(None, ge=1)
    """Single-threaded processes on CPU (Linux). Default: one per core, and one alone where the pool is small."""


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


class LengthSelect(Config):
    strategy: Literal["length"]
    """The longest rows."""
    ratio: Ratio = 0.2
    field: Literal["response", "instruction", "full"] = "response"
    unit: Literal["tokens", "chars", "words"] = "tokens"
    """tokens: of the base model's tokenizer, without special tokens."""


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


SelectConfig = Annotated[
    FullSelect | RandomSelect | RandomRestSelect | LengthSelect | SelectITSelect, Discriminator("strategy")
]
SEEDED_STRATEGIES = ("random", "random_rest")


class SelectDefaults(Config):
    """What all arms share; an arm's own `select` section wins."""

    ratio: Ratio = 0.2


class LoraSettings(Config):
    r: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class FinetuneConfig(Config):
    method: Literal["lora", "full", "none"] = "lora"
    """none: evaluate the model as it is (the base row of a table); nothing is selected or trained."""
    template: Literal["alpaca", "llmzoo", "chat"] = "alpaca"
    """Prompt form of training and of chat-format benchmarks; chat: the tokenizer's own chat template."""
    learning_rate: float = Field(2e-4, gt=0)
    num_train_epochs: float = Field(3, gt=0)
    max_steps: int | None = Field(None, ge=1)
    """Optimiser steps; wins over num_train_epochs."""
    global_batch_size: int = Field(128, ge=1)
    """Rows per optimiser step, over all devices."""
    micro_batch_size: int = Field(4, ge=1)
    """Rows per forward pass on one device; gradient accumulation is derived, a remainder refused."""
    max_length: int = Field(2048, ge=16)
    """Tokens per row; longer rows lose their end."""
    max_truncated_share: float = Field(0.1, ge=0, le=1)
    """Largest share of rows that may be truncated; above it training is refused."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = execution(True)
    lora: LoraSettings = LoraSettings()
    save_steps: int = execution(200, ge=1)
    """Optimiser steps between checkpoints, from which a killed run goes on."""

    @model_validator(mode="after")
    def _batch_divides(self) -> FinetuneConfig:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size}; choose a micro_batch_size that divides it"
            )
        return self


class EvaluateConfig(Config):
    profile: Annotated[str, LocationMark(keywords=("paper-2023", "full", "miniature"))] = "paper-2023"
    """A protocol of evaluate/profiles/ or a YAML file of the same form."""
    data: Annotated[str, LocationMark(keywords=("hub",))] = "hub"
    """`hub`, or a folder that holds mmlu/, bbh/, gsm8k/, tydiqa/, humaneval/, alpaca_eval/."""
    benchmarks: tuple[str, ...] | None = Field(None, min_length=1)
    """Which of the profile's benchmarks; default: all."""
    limit: int | None = Field(None, ge=1)
    """At most this many items per task (an MMLU subject, a BBH task and a TyDiQA language are tasks)."""
    judge: Annotated[str, LocationMark(prefixes=("hf:",))] | None = None
    """`hf:<model>`: an in-process log-probability judge for AlpacaEval. None: outputs are written, not judged."""
    sandbox: Literal["bwrap", "none"] = "bwrap"
    """Where model-written code runs. `none` runs it unprotected and must be asked for."""
    batch_size: int = execution(8, ge=1)


class SeedsConfig(Config):
    select: tuple[int, ...] = Field((42,), min_length=1)
    train: tuple[int, ...] = Field((42,), min_length=1)
    eval: tuple[int, ...] = Field((42,), min_length=1)


class WandbConfig(Config):
    enabled: bool = True
    project: str = "selectit"
    entity: str | None = None


class ArmConfig(Config):
    """One row of the table, every section resolved."""

    pool: PoolConfig
    model: ModelConfig
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


class RecipeConfig(Config):
    """A recipe file as it is written; `selectit.recipe.load` reads one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the results folder and the W&B group."""
    description: str = ""
    """Shown at the top of the report."""
    demonstration: bool = False
    """True: the report says that its numbers show the machinery and are not a result."""
    extends: str | None = None
    """A parent recipe, relative to this file; sections merge, lists replace."""
    pool: PoolConfig
    model: ModelConfig
    score: ScoreConfig = ScoreConfig()
    select: SelectDefaults = SelectDefaults()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    """Rows of the table: name -> the sections (pool, model, score, select, finetune, evaluate) that differ."""
    grid: dict[str, tuple[Any, ...]] = {}
    """Dotted key -> values; every arm that the key changes is repeated for each value."""
    seeds: SeedsConfig = SeedsConfig()
    baseline: str
    """The arm that differences are taken to."""
    wandb: WandbConfig = WandbConfig()


class BenchmarkConfig(Config):
    """How one benchmark is run: one entry of a profile."""

    name: str
    """mmlu, bbh, gsm8k, tydiqa, humaneval or alpaca_eval."""
    tasks: tuple[str, ...] | None = None
    """MMLU subjects, BBH tasks or TyDiQA languages; default: all of the benchmark."""
    items_per_task: int | None = Field(None, ge=1)
    """A seeded sample of this many items per task; default: every item."""
    sample_seed: int = 42
    """Seed of that sample."""
    num_fewshot: int | None = None
    """Only where the benchmark's shots are not fixed by its task."""
    max_gen_toks: int | None = None
    """New tokens at most (generation benchmarks)."""
    until: tuple[str, ...] | None = None
    """Stop strings (generation benchmarks)."""
    num_samples: int = Field(1, ge=1)
    """Completions per item (HumanEval)."""
    pass_at: tuple[int, ...] = (1,)
    """Values of k for HumanEval's pass@k."""
    temperature: float = Field(0.0, ge=0)
    """0: greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    chat_template: bool = False
    """True: prompts stand in the training template; False: the benchmark's own base-model prompt."""
    metric: str
    """The metric that goes into the table."""


class ScoreStage(Config):
    """One rater over one pool: the next-token probabilities of the rating tokens, for each rating prompt."""

    pool: PoolConfig
    model: ModelConfig
    prompts: tuple[str, ...]
    """What stands before `Instruction:`, line ends included, in the order of the rating-prompt file."""
    max_length: int | None = None
    batch_tokens: int | None = execution(None, ge=1)
    num_processes: int | None = execution(None, ge=1)


class SelectStage(Config):
    """One subset of one pool."""

    pool: PoolConfig
    select: SelectConfig
    seed: int | None = None
    """Only for strategies that draw."""
    tokenizer: ModelConfig | None = None
    """Only for lengths in tokens."""
    prompts: tuple[str, ...] = ()
    """selectit: the rating prompts whose ratings are combined, in order."""
    theta: tuple[float | None, ...] = ()
    """selectit at model level: parameters of each rater in billions; None: as counted by its score stage."""


class FinetuneStage(Config):
    """One training run on one subset."""

    model: ModelConfig
    finetune: FinetuneConfig
    seed: int


class EvaluateStage(Config):
    """One benchmark on one model."""

    model: ModelConfig
    adapter: Location | None = None
    """PEFT adapter that no stage of this project made; a fine-tuned model comes as an input instead."""
    benchmark: BenchmarkConfig
    profile: str = execution("")
    """Name of the profile the benchmark's settings come from, for the report."""
    data: Annotated[str, LocationMark(keywords=("hub",))] = "hub"
    limit: int | None = None
    template: Literal["alpaca", "llmzoo", "chat"] | None = None
    """Only where the benchmark asks for chat format."""
    judge: Annotated[str, LocationMark(prefixes=("hf:",))] | None = None
    sandbox: Literal["bwrap", "none"] = execution("bwrap")
    batch_size: int = execution(8, ge=1)
    seed: int = 42

    def location_files(self, field: str) -> list[Path] | None:
        if field != "data" or self.data == "hub":
            return None
        from selectit.evaluate.profile import data_files

        return data_files(self.benchmark, Path(self.data))


StageConfig = ScoreStage | SelectStage | FinetuneStage | EvaluateStage
