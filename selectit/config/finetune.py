"""The `finetune` section, and the configuration of a finetune stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from selectit.config.inputs import ModelConfig
from selectit.config.schema import Config, execution


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


class FinetuneStage(Config):
    """One training run on one subset."""

    model: ModelConfig
    finetune: FinetuneConfig
    seed: int
