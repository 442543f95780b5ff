"""The graph of stages: what a stage is, and which numbers of the table come out of which stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from selectit.config import ArmConfig, FinetuneStage, LossStage, ScoreStage, SelectStage
from selectit.evaluate.stage_config import EvaluateStage, GradeStage
from selectit.recipe.rows import Recipe
from selectit.selection.registry import Strategies, shipped
from selectit.templates import template_name

StageConfig = ScoreStage | LossStage | SelectStage | FinetuneStage | EvaluateStage | GradeStage
CONFIG_OF: dict[str, type[StageConfig]] = {
    "score": ScoreStage, "losses": LossStage, "select": SelectStage, "finetune": FinetuneStage,
    "evaluate": EvaluateStage, "grade": GradeStage,
}  # fmt: skip
"""The first word of a kind -> the class of its configuration."""

LOSS_TEXTS = {
    "conditioned": "response given its instruction",
    "marker": "response behind its marker",
    "bare": "response alone",
}
"""The texts of a losses stage, in words."""


SEEDS_OF = {"select": ("select",), "finetune": ("select", "train"), "evaluate": ("select", "train", "eval")}
"""The seeds that a stage depends on, through its inputs too."""


@dataclass(frozen=True)
class Stage:
    """A node of the graph. Equal stages of different arms are one node."""

    kind: str
    config: StageConfig
    inputs: tuple[tuple[str, Stage], ...] = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.config, self.inputs))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class Cell:
    """One number of the table: a benchmark on the model of one row and one combination of seeds."""

    benchmark: str
    select_seed: int
    train_seed: int
    eval_seed: int
    stage: Stage

    @cached_property
    def chain(self) -> tuple[Stage, ...]:
        """The evaluation, the training before it, and the selection before that."""
        chain = [self.stage]
        while chain[-1].inputs and chain[-1].kind != "select":
            chain.append(chain[-1].inputs[0][1])
        return tuple(chain)


@dataclass(frozen=True)
class TableRow:
    label: str
    arm: str
    config: ArmConfig
    cells: tuple[Cell, ...]

    def __hash__(self) -> int:
        return hash(self.label)

    @cached_property
    def curve(self) -> tuple[Cell, ...]:
        """The cells on the weights after each epoch, where the training keeps them; they are never in the table."""
        found = [
            (epoch, replace(cell, stage=replace(cell.stage, config=config.model_copy(update={"epoch": epoch}))))
            for cell in self.cells
            for _, tuned in cell.stage.inputs
            if isinstance(tuned.config, FinetuneStage) and isinstance(config := cell.stage.config, EvaluateStage)
            for epoch in (tuned.config.epochs if tuned.config.keep_epochs else ())
        ]
        return tuple(cell for _, cell in sorted(found, key=lambda item: item[0]))  # each epoch's weights load once

    def seeds_label(self, cell: Cell, names: Sequence[str]) -> str:
        """` (select seed 1, train seed 2)`: those of the named seeds in which the row's cells differ."""
        differing = [
            f"{name} seed {getattr(cell, f'{name}_seed')}"
            for name in names
            if len({getattr(other, f"{name}_seed") for other in self.cells}) > 1
        ]
        return f" ({', '.join(differing)})" if differing else ""

    def stages(self, kind: str) -> list[Stage]:
        """The row's stages whose kind starts with `kind`, each once, in order."""
        found = dict.fromkeys(s for cell in self.cells for s in walk(cell.stage) if s.kind.startswith(kind))
        return list(found)


@dataclass(frozen=True)
class Plan:
    rows: tuple[TableRow, ...]
    stages: tuple[Stage, ...]
    """Every stage once, inputs before the stages that read them, one row after the other."""
    recipe: Recipe | None = None
    """None for stages that are run without a recipe."""

    @property
    def strategies(self) -> Strategies:
        return shipped() if self.recipe is None else self.recipe.strategies

    @cached_property
    def owners(self) -> dict[Stage, list[tuple[TableRow, Cell]]]:
        """Stage -> each row whose own it is (not those that read it through another row's subset), with a cell."""
        owners: dict[Stage, dict[TableRow, Cell]] = {}
        for row in self.rows:
            for cell in (*row.cells, *row.curve):
                for stage in cell.chain:
                    owners.setdefault(stage, {}).setdefault(row, cell)
        return {stage: list(rows.items()) for stage, rows in owners.items()}

    def title(self, stage: Stage) -> str:
        """Such as `evaluate gsm8k of length (train seed 2)`; seeds are named where the row has several."""
        config = stage.config
        if isinstance(config, ScoreStage):
            return f"score {Path(config.pool.path).name} with {Path(config.model.path).name}"
        if isinstance(config, LossStage):
            names = f"{Path(config.pool.path).name} with {Path(config.model.path).name}"
            if stage.inputs:
                names += f" ({self.title(stage.inputs[0][1])})"
            return f"losses of {names}, {LOSS_TEXTS[config.text]} ({template_name(config.template)})"
        if isinstance(config, GradeStage):
            return f"grade {config.benchmark.name}, {Path(config.answers).name}"
        what = f"evaluate {config.benchmark.name} of" if isinstance(config, EvaluateStage) else stage.kind.split("-")[0]
        if stage not in self.owners:
            return f"{what} {Path(config.model.path).name}" if isinstance(config, EvaluateStage) else what
        (row, cell), *others = self.owners[stage]
        more = f" (+{len(others)} more)" if others else ""
        epoch = f" after epoch {config.epoch}" if isinstance(config, EvaluateStage) and config.epoch else ""
        return f"{what} {row.label}{more}{epoch}{row.seeds_label(cell, SEEDS_OF[stage.kind.split('-')[0]])}"


def walk(stage: Stage) -> Iterator[Stage]:
    """The stage's inputs, theirs, and then the stage itself."""
    for _, other in stage.inputs:
        yield from walk(other)
    yield stage


def alone(*stages: Stage) -> Plan:
    """The plan of a few stages that belong to no table."""
    return Plan((), tuple(dict.fromkeys(s for stage in stages for s in walk(stage))))
