"""What a strategy is: the fields of its `select` section, what it reads, the score that it gives each row, and how the
report describes it. One module of `selectit/selection/strategies/`, or of a plugin, holds all of that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
from pydantic import model_validator

from selectit.config import (
    ArmConfig,
    Need,
    NeedsArm,
    NeedsFeatures,
    NeedsLosses,
    NeedsModelOfArm,
    Ratio,
    SelectFields,
    SelectStage,
)
from selectit.data.jsonl import iter_jsonl
from selectit.data.pool import Row, iter_pool
from selectit.errors import UserError
from selectit.scoring.loss_ledger import Losses, read_features, read_losses
from selectit.selection.diversity.methods import OF_STEP, Diversify
from selectit.selection.ranking import num_selected
from selectit.store.names import LEDGER, MESSAGES_FILE

TAKEN = "taken_by_the_other_arm"
BIN_FULL = "length_bin_full"
LEFT_OUT = (TAKEN, BIN_FULL)
"""Reasons that are no failures, of finished selections whose selection.json does not name them."""
Detail = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True)
class PluginSource:
    """Where a strategy comes from that is not this project's: a file, or an installed distribution."""

    name: str
    """Path of the file, or name of the distribution."""
    content: str
    """`sha256:` of the file, or the version of the distribution."""
    is_file: bool = True

    @property
    def identity(self) -> str:
        """What a fingerprint holds of it: of a file its content, wherever it lies."""
        return self.content if self.is_file else f"{self.name} {self.content}"


@dataclass(frozen=True)
class Candidates:
    """The rows among which a strategy chooses, and what it asked to read. Arrays and lists are in the pool's order."""

    stage: SelectStage
    row_ids: pa.Array
    """Text [num_rows]."""
    failures: Sequence[str | None]
    """Why a row can never be selected, such as `empty_response`; None: it may be."""
    inputs: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the stages that `needs` asked for: score0, score1, ... of ratings; else by name or field."""
    strata: pa.Array | None = None
    """Text [num_rows], the values of the column `pool.stratify_by`; null for rows that can never be selected. None: the
    pool names no such column."""
    asked: tuple[Need, ...] | None = None
    """What `inputs` was asked for by; None: by the stage's strategy."""

    def __len__(self) -> int:
        return len(self.row_ids)

    def rows(self) -> Iterator[Row]:
        """Every row, those that can never be selected too."""
        return iter_pool(self.stage.pool)

    @property
    def usable(self) -> np.ndarray:
        """bool [num_rows]"""
        return np.array([failure is None for failure in self.failures])

    @property
    def seed(self) -> int:
        """The selection seed of a strategy that draws."""
        if self.stage.seed is None:
            raise UserError(f"strategy {self.stage.select.strategy} is given no seed; its class needs draws = True")
        return self.stage.seed

    def tokenizer(self) -> Any:
        """That of the arm's model. Loads transformers."""
        from selectit.inference.load import load_tokenizer

        if self.stage.tokenizer is None:
            raise UserError(self._not_asked("tokenizer()", "NeedsTokenizer()"))
        return load_tokenizer(self.stage.tokenizer)

    def losses(self, name: str) -> Losses:
        """Those that were asked for under this name."""
        if name not in self.inputs:
            raise UserError(self._not_asked(f"losses({name!r})", f"NeedsLosses({name!r}, ...)"))
        return read_losses(self.inputs[name] / LEDGER, self.row_ids)

    def features(self, name: str) -> np.ndarray:
        """Those that were asked for under this name: float32 [num_rows, width], memory-mapped, NaN for a row that has
        none; `losses(name)` has the reason.
        """
        needs = self.stage.select.all_needs() if self.asked is None else self.asked
        asked = [need for need in needs if isinstance(need, NeedsFeatures) and need.name == name]
        if not asked or name not in self.inputs:
            raise UserError(self._not_asked(f"features({name!r})", f"NeedsFeatures({name!r}, ...)"))
        return read_features(self.inputs[name], asked[0].pooling, self.row_ids)

    def taken_by(self, name: str) -> np.ndarray:
        """bool [num_rows], the rows that the arm selected which this field names."""
        if name not in self.inputs:
            raise UserError(self._not_asked(f"taken_by({name!r})", f"NeedsArm({name!r}, self.{name})"))
        taken = pa.array((line["row_id"] for line in iter_jsonl(self.inputs[name] / MESSAGES_FILE)), pa.string())
        chosen: np.ndarray = compute.is_in(self.row_ids, value_set=taken).to_numpy(zero_copy_only=False)
        return chosen

    def _not_asked(self, what: str, need: str) -> str:
        return (
            f"strategy {self.stage.select.strategy} reads pool.{what}, and its `needs` does not ask for that; give "
            f"{need} there (asked for: {', '.join(self.inputs) or 'nothing'}). In preflight nothing of it is there yet"
        )


@dataclass
class Scored:
    """What a strategy makes of a pool."""

    scores: np.ndarray | Sequence[float]
    """[num_rows], higher is better; NaN where a row has none."""
    failures: Mapping[int, str] = field(default_factory=dict)
    """Position -> why a row has no score, as one word; it is never selected, and the report names it."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Position -> by which rule of the strategy a row is not taken, as one word. This is not a failure."""
    details: Detail | None = None
    """From a position to what scores.jsonl holds of the row next to its score."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What selection.json holds of the whole; `notes` makes sentences of it."""
    taken: Sequence[int] | None = None
    """Positions of all rows that are taken, best first, where a number of rows and their scores alone do not determine
    them; `count` and `arranged` are then not asked. None: the rows with the highest scores."""


class Strategy(SelectFields):
    """Subclass this with `strategy: Literal["name"]`, the fields of the `select` section with a docstring under each,
    and the methods below. The first line of the class's docstring is what `selectit strategies` shows.

    The rows with the highest scores are taken; of equal scores the later row comes first. All that can be taken are,
    unless the class is a `RatioStrategy`.
    """

    source: ClassVar[PluginSource | None] = None
    draws: ClassVar[bool] = False
    """It draws rows with the selection seed, `pool.seed`."""
    takes_all: ClassVar[bool] = False
    """It takes every row of the pool that can be taken."""
    takes_longest: ClassVar[bool] = False
    """It takes the longest rows, so that they cost more than the pool's mean."""

    @property
    def has_seed(self) -> bool:
        """What it takes depends on the selection seed."""
        return self.draws

    @abstractmethod
    def scores(self, pool: Candidates) -> Scored:
        """A score for each row of the pool.

        Raises: UserError where none can be given.
        """

    @abstractmethod
    def sentence(self, arm: ArmConfig) -> str:
        """What the report's table of arms has of it behind its name, such as `the longest by response in tokens`."""

    def count(self, num_rows: int, num_eligible: int) -> int:
        """How many rows are taken.

        Args:   num_rows: of the pool; num_eligible: that have a score.
        Raises: UserError where that is none.
        """
        if num_eligible == 0:
            raise UserError(f"none of the {num_rows} rows may be taken by strategy {self.strategy}")
        return num_eligible

    def arranged(self, order: Sequence[int], num_eligible: int, count: int) -> Sequence[int]:
        """Positions in the order in which they are taken. Args: order: highest score first, rows without one last."""
        return order

    def check_size(self, num_rows: int, num_eligible: int) -> None:
        """Raises: UserError where too few rows can be taken."""
        self.arranged(range(num_rows), num_eligible, self.count(num_rows, num_eligible))

    def check_arm(self, arm: ArmConfig) -> None:
        """Raises: UserError for settings of an arm with which it cannot work; called when a plan is made."""

    def preflight(self, pool: Candidates) -> None:
        """What can be checked before anything runs; nothing that it `needs` is there yet. Raises: UserError."""

    def notes(self, selection: Mapping[str, Any]) -> list[str]:
        """Sentences on a finished selection for the terminal and the report. Args: selection: of selection.json."""
        return []

    def readings(self, pool: Candidates) -> Mapping[str, np.ndarray | None]:
        """Name -> float64 [num_rows] scores under each reading of the method, its own among them; None: that reading
        has no result. The report shows how far their subsets overlap.
        """
        return {}

    def unread_fields(self) -> tuple[str, ...]:
        """Fields that change nothing with these settings."""
        return ()

    def expected_rows(self, num_rows: int, num_of_other: int) -> int:
        """How many rows it will take, for prices. Args: num_of_other: of the other arm, if it reads one."""
        return num_rows

    def plugin(self) -> str | None:
        return None if self.source is None else self.source.identity


class ShareStrategy(Strategy):
    """A strategy that takes a share of the pool, in an order of its own."""

    ratio: Ratio = 0.2
    """Share of the pool's rows that is taken."""

    def count(self, num_rows: int, num_eligible: int) -> int:
        return num_selected(self.ratio, num_rows, num_eligible)

    def expected_rows(self, num_rows: int, num_of_other: int) -> int:
        return int(self.ratio * num_rows)


class RatioStrategy(ShareStrategy):
    """A strategy that takes the share of the pool that has the highest scores."""

    later_defaults: ClassVar[Mapping[str, Any]] = {"stratify": None, "diversify": None}

    stratify: Literal["equal", "proportional"] | None = None
    """How many rows each value of the column `pool.stratify_by` gives: as many, or in proportion to its rows; null: the
    column is not read."""
    diversify: Diversify | None = None
    """How rows that differ from one another are chosen among those of high scores; null: by score alone."""

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.stratify is not None and self.diversify is not None:
            raise ValueError("stratify and diversify both decide which rows of high scores are taken; give one of them")
        return self

    def all_needs(self) -> tuple[Need, ...]:
        return (*self.needs(), *(() if self.diversify is None else self.diversify.reads(OF_STEP)))

    @property
    def has_seed(self) -> bool:
        return self.draws or (self.diversify is not None and self.diversify.draws)


def strategy_of(holder: ArmConfig | SelectStage) -> Strategy:
    """The strategy of an arm or of a select stage."""
    assert isinstance(holder.select, Strategy)
    return holder.select


def needed_arms(holder: ArmConfig) -> list[NeedsArm]:
    """The other arms whose subsets an arm's strategy reads."""
    return [need for need in holder.select.all_needs() if isinstance(need, NeedsArm)]


def models_read(select: SelectFields) -> list[NeedsModelOfArm]:
    """The other arms whose trained models a strategy reads with, each once."""
    found = [need.model_of if isinstance(need, NeedsLosses) else need for need in select.all_needs()]
    return list(dict.fromkeys(need for need in found if isinstance(need, NeedsModelOfArm)))


def json_number(value: float) -> float | None:
    """A number as JSON has it; None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None
