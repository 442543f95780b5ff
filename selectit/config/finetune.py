"""The `finetune` section, and the configuration of a finetune stage."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from selectit.config.inputs import BadRows, ModelConfig, PoolConfig
from selectit.config.schema import Config, Location, Seed, Template, execution


class LoraSettings(Config):
    r: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) in place of alpha / r."""
    use_dora: bool = False
    """Train the size of each output apart from its direction."""
    modules_to_save: tuple[str, ...] | None = Field(None, min_length=1)
    """Modules that are trained whole, such as embed_tokens and lm_head, and saved with the adapter."""


class ValidationSplit(Config):
    """Rows of the subset that are held out."""

    share: float | None = Field(None, gt=0, lt=1)
    """Of the subset's rows."""
    num_rows: int | None = Field(None, ge=1)
    """In place of a share."""
    seed: int = 42
    """Of the draw over row ids; with the same seed a larger draw holds every smaller one."""

    @model_validator(mode="after")
    def _one_size_is_given(self) -> ValidationSplit:
        if (self.share is None) == (self.num_rows is None):
            raise ValueError(
                "give one of share, num_rows and path: how many rows of the subset are held out, or a file"
            )
        return self


class ValidationFile(PoolConfig):
    """A pool of its own, the same for all arms."""


ValidationConfig = Annotated[
    Annotated[ValidationSplit, Tag("split")] | Annotated[ValidationFile, Tag("file")],
    Discriminator(
        lambda value: (
            "file" if "path" in (value if isinstance(value, dict) else getattr(value, "__dict__", {})) else "split"
        )
    ),
]


class ReplayConfig(PoolConfig):
    """General rows that are mixed into the subset."""

    share: float = Field(gt=0, lt=1)
    """Of the rows that are trained on."""
    seed: int = 42
    """Of the draw over row ids."""


class EarlyStopping(Config):
    metric: Literal["validation_loss"] = "validation_loss"
    patience: int = Field(1, ge=1)
    """Epochs without a new lowest value after which training stops."""


class FinetuneConfig(Config):
    method: Literal["lora", "qlora", "full", "none"] = "lora"
    """qlora: an adapter on a base of 4 bits a weight; none: evaluate the model as it is (the base row of a table),
    nothing is selected or trained."""
    template: Template = "alpaca"
    """Prompt form of training and of chat-format benchmarks: alpaca, llmzoo, chat (the tokenizer's own chat template),
    or the path of a .jinja file."""
    control_tokens: Literal["neutralise", "refuse"] = "neutralise"
    """Special tokens in the words of a row, such as <s>: read as plain text, or a row that holds one is a bad row."""
    learning_rate: float = Field(2e-4, gt=0)
    budget: Literal["rows", "tokens", "steps"] = "rows"
    """What the arms of a table spend alike: passes over their own rows, tokens that count in the loss, or steps."""
    num_train_epochs: float = Field(3, gt=0)
    """With budget rows."""
    max_steps: int | None = Field(None, ge=1)
    """Optimiser steps, with budget steps; with rows it wins over num_train_epochs."""
    budget_tokens: int | None = Field(None, ge=1)
    """With budget tokens: training ends with the step that reaches as many."""
    global_batch_size: int = Field(128, ge=1)
    """Rows per optimiser step, over all devices."""
    micro_batch_size: int = Field(4, ge=1)
    """Rows per forward pass on one device, with packing on average; gradient accumulation is derived, a remainder
    refused."""
    packing: bool = False
    """Rows of a forward pass are concatenated, without padding and without cross-example attention; those of an
    optimiser step stay the same."""
    max_length: int = Field(2048, ge=16)
    """Tokens per row; longer rows lose their end."""
    max_truncated_share: float = Field(0.1, ge=0, le=1)
    """Largest share of rows that may be truncated; above it training is refused."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit", "adafactor"] = "adamw"
    """adamw: moments in float32; adamw_8bit: in 8 bits (bitsandbytes, on a GPU); adafactor: sums of rows and columns in
    place of the second moment, and no first."""
    neftune_noise_alpha: float | None = Field(None, gt=0)
    """NEFTune: uniform noise on the embeddings while training, scaled by this over the root of tokens x width."""
    order: Literal["shuffled", "curriculum"] = "shuffled"
    """curriculum: every epoch goes through the rows by their selection score."""
    curriculum: Literal["ascending", "descending"] | None = None
    """With order curriculum; ascending: the lowest score first."""
    validation: ValidationConfig | None = None
    """Rows that are not trained on, and whose loss is computed after every epoch: a share or number of the subset's, or
    a file."""
    early_stopping: EarlyStopping | None = None
    """Stop after `patience` epochs without a lower validation loss, and keep the best epoch; default: the last step."""
    replay: ReplayConfig | None = None
    """General rows that are mixed in."""
    adapter: Location | None = None
    """An adapter to continue from: its folder, that of its training, or a hub id; default: a new one."""
    gradient_checkpointing: bool = execution(True)
    lora: LoraSettings = LoraSettings()
    save_steps: int = execution(200, ge=1)
    """Optimiser steps between checkpoints, from which a killed run resumes."""
    save_minutes: float = execution(5, gt=0)
    """Minutes between checkpoints at most, where saving takes a tenth of that time or less."""
    report_to: tuple[Literal["wandb", "tensorboard", "mlflow", "trackio"], ...] = execution(())
    """Where transformers' own callbacks log the training too; metrics.jsonl and `wandb.enabled` do not depend on it."""
    launcher: Literal["none", "torchrun", "accelerate", "deepspeed", "external"] = execution("none")
    """What starts the training processes; none: one process, that of the command; external: you do, on many nodes."""
    num_processes: int = execution(1, ge=1)
    """Training processes over all nodes, one on each device."""
    deepspeed: Literal["none", "zero2", "zero3", "zero2_offload", "zero3_offload"] = "none"
    """What DeepSpeed shares out over the processes, and whether the CPU holds it."""

    @property
    def trains_adapter(self) -> bool:
        """The result is an adapter; else a whole model."""
        return self.method in ("lora", "qlora")

    @property
    def accumulation_steps(self) -> int:
        """Forward passes of one process in one optimiser step."""
        return self.global_batch_size // (self.micro_batch_size * self.num_processes)

    @model_validator(mode="after")
    def _batch_divides(self) -> FinetuneConfig:
        batch, micro, processes = self.global_batch_size, self.micro_batch_size, self.num_processes
        if batch % (micro * processes):
            raise ValueError(
                f"global_batch_size {batch} is not a multiple of micro_batch_size {micro} x num_processes {processes} "
                f"= {micro * processes}; allowed with {'1 process' if processes == 1 else f'{processes} processes'}: "
                f"{_micro_batch_sizes(batch, processes)}"
            )
        return self

    @model_validator(mode="after")
    def _budget_is_given(self) -> FinetuneConfig:
        for name, field in (("steps", "max_steps"), ("tokens", "budget_tokens")):
            if self.budget == name and getattr(self, field) is None:
                raise ValueError(f"budget {name} needs {field}: how many {name} every arm trains for")
        if self.budget != "tokens" and self.budget_tokens is not None:
            raise ValueError(
                f"budget_tokens {self.budget_tokens} belongs to budget tokens, and budget is {self.budget}"
            )
        if self.budget == "tokens" and self.max_steps is not None:
            raise ValueError(f"max_steps {self.max_steps} and budget tokens exclude each other; remove one")
        return self

    @model_validator(mode="after")
    def _something_starts_the_processes(self) -> FinetuneConfig:
        if self.launcher == "none" and (self.num_processes > 1 or self.deepspeed != "none"):
            what = f"num_processes {self.num_processes}" if self.num_processes > 1 else f"deepspeed {self.deepspeed}"
            raise ValueError(f"{what} needs a launcher; set launcher to torchrun, accelerate, deepspeed or external")
        return self

    @model_validator(mode="after")
    def _reports_go_to_one_run(self) -> FinetuneConfig:
        if "wandb" in self.report_to and self.launcher != "none":
            raise ValueError(
                f"report_to wandb is for launcher none, and launcher is {self.launcher}; wandb.enabled logs a training "
                "of several processes"
            )
        return self

    @model_validator(mode="after")
    def _weights_of_4_bits_stay_whole(self) -> FinetuneConfig:
        if self.method == "qlora" and self.deepspeed.startswith("zero3"):
            raise ValueError(
                f"deepspeed {self.deepspeed} shares out the weights, which method qlora holds in 4 bits on every GPU; "
                "set deepspeed to none or zero2"
            )
        return self

    @model_validator(mode="after")
    def _order_is_stated(self) -> FinetuneConfig:
        if (self.order == "curriculum") != (self.curriculum is not None):
            raise ValueError("order curriculum and curriculum (ascending or descending) belong together; give both")
        if self.order == "curriculum" and self.replay is not None:
            raise ValueError("order curriculum and replay exclude each other: replayed rows have no selection score")
        return self

    @model_validator(mode="after")
    def _stopping_has_a_measure(self) -> FinetuneConfig:
        if self.early_stopping is not None and self.validation is None:
            raise ValueError("early_stopping needs validation: rows whose loss decides when to stop")
        return self

    @model_validator(mode="after")
    def _adapter_settings_have_an_adapter(self) -> FinetuneConfig:
        if self.adapter is not None and not self.trains_adapter:
            raise ValueError(f"adapter is for methods lora and qlora, and method is {self.method}")
        if self.optimizer != "adamw" and self.deepspeed != "none":
            raise ValueError(
                f"optimizer {self.optimizer} is for deepspeed none, and deepspeed is {self.deepspeed}, which shards "
                "AdamW's states; set one of the two back"
            )
        return self


def _micro_batch_sizes(batch: int, processes: int) -> str:
    if batch % processes:
        return f"none, for {batch} rows cannot be divided evenly; change global_batch_size or num_processes"
    share = batch // processes
    return "micro_batch_size " + ", ".join(str(size) for size in range(1, share + 1) if share % size == 0)


class FinetuneStage(Config):
    """One training run on one subset."""

    model: ModelConfig
    finetune: FinetuneConfig
    seed: Seed
    bad_rows: BadRows = "refuse"
    """As the pool's: rows that template or tokenizer cannot label stop the training, or are left out."""
    keep_epochs: bool = False
    """The weights after every epoch stay, for evaluation."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """Those that keep_epochs keeps, counted from 1. The last one is not among them where it is the result."""
        last = ceil(self.finetune.num_train_epochs)
        return tuple(range(1, last + (self.finetune.early_stopping is not None)))
