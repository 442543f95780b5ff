"""The sections that name what goes in: the pool of instruction data and the models."""

from __future__ import annotations

import glob
import itertools
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from selectit.config.schema import Config, Location, Seed, execution

BadRows = Literal["refuse", "exclude"]
PoolFormat = Literal[
    "auto", "alpaca", "sharegpt", "messages", "prompt_completion", "dolly", "magpie", "question_answer"
]
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


def files_of_pattern(location: str) -> list[Path] | None:
    """The files that a pattern such as `pool/*.jsonl` names, in the order of their names; None: it is no pattern."""
    if not glob.has_magic(location) or Path(location).exists():
        return None
    return sorted(path for path in map(Path, glob.glob(location, recursive=True)) if path.is_file())


def is_local(location: str) -> bool:
    """Whether a path names something on this machine, as a pattern always does; else it may be a hub id."""
    return files_of_pattern(location) is not None or Path(location).exists()


def root_of_pattern(location: str) -> Path:
    """The folder in front of the first part that is no plain name."""
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), Path(location).parts)
    return Path(*plain)


class ColumnsConfig(Config):
    """The pool's own names of columns; `instances.0.output` is in a nested one. An empty text: it is not read."""

    instruction: str | None = Field(None, min_length=1)
    response: str | None = Field(None, min_length=1)
    input: str | None = None
    """What stands behind an instruction, as Alpaca's `input` and Dolly's `context`."""
    conversation: str | None = Field(None, min_length=1)
    """A list of turns."""
    system: str | None = None
    history: str | None = None
    """Earlier turns, pairs of a question and its answer."""
    tools: str | None = None
    """What the model may call. Rows that have it cannot be read yet: without it, if this is an empty text."""


class RolesConfig(Config):
    """Names that a pool's turns have for their roles, in addition to those that are known."""

    system: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    assistant: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_name_once(self) -> RolesConfig:
        named = [name for role in type(self).model_fields for name in getattr(self, role)]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"'{twice[0]}' stands there twice; a name is of one role")
        return self


class PoolConfig(Config):
    path: Location
    """JSON, JSONL, CSV, TSV or Parquet file, a pattern such as `pool/*.jsonl`, dataset folder, or hub dataset id."""
    name: str | None = None
    """Configuration of a hub dataset, such as `de-en`."""
    revision: str | None = None
    """Commit, tag or branch of a hub dataset; resolved to a commit before anything runs."""
    split: str = "train"
    """Split of a hub dataset, or a slice of it such as `train[:10%]`; a file has none."""
    format: PoolFormat = "auto"
    """alpaca: instruction/input/output; sharegpt: conversations[from,value]; messages: messages[role,content];
    prompt_completion: prompt/completion; dolly: instruction/context/response; magpie: instruction/response;
    question_answer: question/answer."""
    columns: ColumnsConfig | None = None
    """Names of columns that are not those of the format, such as `{instruction: question, response: answer}`."""
    roles: RolesConfig | None = None
    """Names of roles that are not known, such as `{assistant: [bing]}`."""
    stratify_by: str | None = Field(None, min_length=1)
    """A column of text, numbers or yes and no, such as `source`, that strategies can keep balanced. A dotted name goes
    into objects. Rating and losses do not read it."""
    deduplicate: Literal["exact", "near"] | None = None
    """Rows that repeat an earlier one are left out. exact: equal roles and texts, blanks around a text aside; near:
    four fifths of their runs of five words are shared (Jaccard, found by MinHash)."""
    ids: Literal["column", "position"] = "column"
    """column: a row's id is its `id`, where rows have one; position: its position and content, always."""
    sample: SampleConfig | None = None
    """Only the rows of a seeded draw, in file order; it comes before everything else. Default: all rows."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows, in file order; with `sample`, the first of the drawn ones."""
    bad_rows: BadRows = "refuse"
    """Rows that cannot be used, such as one with an empty response. refuse: stop; exclude: leave them out."""

    def as_rated(self) -> Self:
        """The pool as rating and losses read it: without what only a selection reads."""
        return self.model_copy(update={"stratify_by": None})

    def location_files(self, field: str) -> list[Path] | None:
        """Of a pattern, the files that it names."""
        return self.files() if field == "path" else None

    def files(self) -> list[Path] | None:
        """The files of a pattern, by name; None where the path is no pattern."""
        return files_of_pattern(self.path)


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
