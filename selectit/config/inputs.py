"""The sections that name what goes in: the pool of instruction data and the models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from selectit.config.schema import Config, Location, Seed, execution

BadRows = Literal["refuse", "exclude"]
Backend = Literal["transformers", "vllm"]
"""What computes probabilities and texts. Part of the fingerprint: other kernels round and draw otherwise."""

Quantization = Literal["none", "8bit", "4bit"]
"""none: weights as they are; 8bit, 4bit: quantised by bitsandbytes while they are loaded."""


class SampleConfig(Config):
    """A seeded draw from a pool: uniform without replacement over its row ids."""

    num_rows: int = Field(ge=1)
    """Rows that are drawn; the pool must have at least as many."""
    seed: Seed
    """With the same seed a larger draw holds every smaller one."""


class PoolConfig(Config):
    path: Location
    """JSON, JSONL or Parquet file, or a hub dataset id."""
    revision: str | None = None
    """Commit, tag or branch of a hub dataset; resolved to a commit before anything runs."""
    split: str = "train"
    """Split of a hub dataset; a file has none."""
    format: Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion"] = "auto"
    """alpaca: instruction/input/output; sharegpt: conversations[from,value]; messages: messages[role,content];
    prompt_completion: prompt/completion."""
    sample: SampleConfig | None = None
    """Only the rows of a seeded draw, in file order; it comes before everything else. Default: all rows."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows, in file order; with `sample`, the first of the drawn ones."""
    bad_rows: BadRows = "refuse"
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
    device_map: Literal["none", "auto"] = execution("none")
    """Where the weights lie in scoring and evaluation. none: whole on each device; auto: one copy, its layers on all
    GPUs of the machine one after the other, what is left in memory and on disk."""
    max_memory: str | None = execution(None, pattern=r"^\d+(\.\d+)?[KMG]i?B$")
    """With device_map auto: weights that each GPU takes at most (without GPUs: the memory), such as 60GiB."""

    @model_validator(mode="after")
    def _limit_is_used(self) -> ModelConfig:
        if self.max_memory is not None and self.device_map == "none":
            raise ValueError(f"max_memory {self.max_memory} is for device_map auto, and device_map is none")
        return self
