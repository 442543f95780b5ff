"""The sections that name what goes in: the pool of instruction data and the models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selectit.config.schema import Config, Location, execution


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
