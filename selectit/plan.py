"""From a recipe to a graph of stages: which are shared, which are done, which must run and why.

Imports nothing heavy: `selectit plan` answers in under a second.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selectit.config import (
    SEEDED_STRATEGIES,
    ArmConfig,
    BenchmarkConfig,
    EvaluateStage,
    FinetuneStage,
    LengthSelect,
    ModelConfig,
    RandomRestSelect,
    ScoreStage,
    SelectITSelect,
    SelectStage,
    StageConfig,
)
from selectit.errors import UserError
from selectit.recipe import Recipe, Row, trains
from selectit.scoring.prompts import read_rating_prompts


@dataclass(frozen=True)
class Kind:
    """One kind of stage: where its function is, what it must leave behind, what later stages read of it."""

    name: str
    version: int
    """Raised when the same configuration would now give another result."""
    module: str
    """Offers `run(config, inputs, out, tracker) -> metrics`, and may offer `preflight(config)` and `release()`."""
    outputs: tuple[str, ...]
    content: tuple[str, ...]
    told: tuple[str, ...]
    """Metrics that are printed when a stage is done."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="score", version=1, module="selectit.scoring.stage",
            outputs=("ledger.parquet", "score.json"), content=("ledger.parquet",),
            told=("num_ratings", "num_failures", "mean_mass"),
        ),
        Kind(
            name="select", version=1, module="selectit.selection.stage",
            outputs=("scores.jsonl", "messages.jsonl", "selection.json"), content=("messages.jsonl",),
            told=("num_selected", "num_rows"),
        ),
        Kind(
            name="finetune-lora", version=1, module="selectit.finetune.stage",
            outputs=("adapter", "training.json"), content=("adapter",),
            told=("num_rows", "num_steps", "tail_loss", "tokens_per_second"),
        ),
        Kind(
            name="finetune-full", version=1, module="selectit.finetune.stage",
            outputs=("model", "training.json"), content=("model",),
            told=("num_rows", "num_steps", "tail_loss", "tokens_per_second"),
        ),
        Kind(
            name="evaluate", version=1, module="selectit.evaluate.stage",
            outputs=("result.json", "items.jsonl"), content=("result.json", "items.jsonl"),
            told=("value", "stderr", "num_items"),
        ),
    )
}  # fmt: skip


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

    def seeds_told(self, cell: Cell, names: Sequence[str]) -> str:
        """` (select seed 1, train seed 2)`: those of the named seeds in which the row's cells differ."""
        told = [
            f"{name} seed {getattr(cell, f'{name}_seed')}"
            for name in names
            if len({getattr(other, f"{name}_seed") for other in self.cells}) > 1
        ]
        return f" ({', '.join(told)})" if told else ""

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

    @cached_property
    def owners(self) -> dict[Stage, list[tuple[TableRow, Cell]]]:
        """Stage -> each row whose own it is (not those that read it through another row's subset), with a cell."""
        owners: dict[Stage, dict[TableRow, Cell]] = {}
        for row in self.rows:
            for cell in row.cells:
                for stage in cell.chain:
                    owners.setdefault(stage, {}).setdefault(row, cell)
        return {stage: list(rows.items()) for stage, rows in owners.items()}

    def title(self, stage: Stage) -> str:
        """Such as `evaluate gsm8k of length (train seed 2)`; seeds are told where the row has several."""
        config = stage.config
        if isinstance(config, ScoreStage):
            return f"score {Path(config.pool.path).name} with {Path(config.model.path).name}"
        what = f"evaluate {config.benchmark.name} of" if isinstance(config, EvaluateStage) else stage.kind.split("-")[0]
        if stage not in self.owners:
            return f"{what} {Path(config.model.path).name}" if isinstance(config, EvaluateStage) else what
        (row, cell), *others = self.owners[stage]
        more = f" (+{len(others)} more)" if others else ""
        return f"{what} {row.label}{more}{row.seeds_told(cell, SEEDS_OF[stage.kind.split('-')[0]])}"


def walk(stage: Stage) -> Iterator[Stage]:
    """The stage's inputs, theirs, and then the stage itself."""
    for _, other in stage.inputs:
        yield from walk(other)
    yield stage


def build(recipe: Recipe) -> Plan:
    """Raises: UserError where a rating-prompt file has fewer lines than are asked for."""
    seeds = recipe.config.seeds
    prompts = needed_prompts((row.config for row in recipe.rows), seeds.select)
    rows = []
    for row in recipe.rows:
        other = _rest_of(recipe, row)
        cells = []
        for select_seed, train_seed, eval_seed in itertools.product(seeds.select, seeds.train, seeds.eval):
            tuned = None
            if trains(row.config.finetune):
                subset = select_stage(row.config, select_seed, prompts, other)
                tuned = finetune_stage(row.config, train_seed, subset)
            for benchmark in _benchmarks(recipe, row):
                stage = evaluate_stage(row.config, benchmark, recipe.profiles[row.arm].name, eval_seed, tuned)
                cells.append(Cell(benchmark.name, select_seed, train_seed, eval_seed, stage))
        rows.append((row, _each_stage_once(cells)))
    table = _label(rows)
    stages = dict.fromkeys(s for row in table for cell in row.cells for s in walk(cell.stage))
    return Plan(tuple(table), tuple(stages), recipe)


def alone(*stages: Stage) -> Plan:
    """The plan of a few stages that belong to no table."""
    return Plan((), tuple(dict.fromkeys(s for stage in stages for s in walk(stage))))


def _rest_of(recipe: Recipe, row: Row) -> ArmConfig | None:
    select = row.config.select
    if not isinstance(select, RandomRestSelect):
        return None
    return next(r.config for r in recipe.rows if r.arm == select.rest_of and r.point == row.point)


def _each_stage_once(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Seeds that a row does not depend on give the same stage again: it is one number, not several."""
    return tuple({cell.stage: cell for cell in reversed(cells)}.values())[::-1]


def _label(rows: list[tuple[Row, tuple[Cell, ...]]]) -> list[TableRow]:
    """Rows of one arm that the grid does not change are one row; labels show the keys that differ."""
    table = []
    for arm, group in itertools.groupby(rows, key=lambda item: item[0].arm):
        distinct: dict[tuple[Stage, ...], tuple[Row, tuple[Cell, ...]]] = {}
        for row, cells in group:
            distinct.setdefault(tuple(cell.stage for cell in cells), (row, cells))
        values: dict[str, set[str]] = {}
        for row, _ in distinct.values():
            for key, value in row.point:
                values.setdefault(key, set()).add(repr(value))
        shown = {key for key, found in values.items() if len(found) > 1}
        table += [TableRow(row.label(shown), arm, row.config, cells) for row, cells in distinct.values()]
    return table


def _benchmarks(recipe: Recipe, row: Row) -> list[BenchmarkConfig]:
    profile, chosen = recipe.profiles[row.arm], row.config.evaluate.benchmarks
    return [b for name, b in profile.benchmarks.items() if chosen is None or name in chosen]


def raters(config: ArmConfig) -> tuple[ModelConfig, ...]:
    """The models whose ratings an arm uses: all of them at model level, else the first."""
    assert isinstance(config.select, SelectITSelect)
    models = config.score.models or (config.model,)
    return models if config.select.level == "model" else models[:1]


def _prompts(config: ArmConfig, seed: int) -> tuple[str, ...]:
    """The rating prompts of an arm: the first K, or at token level one drawn with the selection seed."""
    select = config.select
    assert isinstance(select, SelectITSelect)
    prompts = read_rating_prompts(config.score.rating_prompts, select.fidelity)
    if select.level == "token":
        return (random.Random(seed).choice(prompts),)
    if select.num_rating_prompts > len(prompts):
        raise UserError(
            f"select.num_rating_prompts is {select.num_rating_prompts}, and {config.score.rating_prompts} "
            f"has {len(prompts)} rating prompts"
        )
    return prompts[: select.num_rating_prompts]


Prompts = Mapping[tuple[Any, ...], tuple[str, ...]]
"""(pool, rater, max_length) -> the rating prompts of its score stage."""


def needed_prompts(arms: Iterable[ArmConfig], seeds: Sequence[int]) -> Prompts:
    """The prompts that any arm needs, together, so that each pool is scored once per rater."""
    needed: dict[tuple[Any, ...], dict[str, None]] = {}
    for config in arms:
        if isinstance(config.select, SelectITSelect) and trains(config.finetune):
            for model, seed in itertools.product(raters(config), seeds):
                key = (config.pool, model, config.score.max_length)
                needed.setdefault(key, {}).update(dict.fromkeys(_prompts(config, seed)))
    return {key: tuple(prompts) for key, prompts in needed.items()}


def score_stages(config: ArmConfig, prompts: Prompts) -> list[Stage]:
    """One stage for each rater of an arm."""
    return [
        Stage(
            "score",
            ScoreStage(
                pool=config.pool,
                model=model,
                prompts=prompts[(config.pool, model, config.score.max_length)],
                max_length=config.score.max_length,
                batch_tokens=config.score.batch_tokens,
                num_processes=config.score.num_processes,
            ),
        )
        for model in raters(config)
    ]


def select_stage(config: ArmConfig, seed: int, prompts: Prompts, rest_of: ArmConfig | None = None) -> Stage:
    """Args: rest_of: the arm whose rows `random_rest` leaves out."""
    select = config.select
    if isinstance(select, SelectITSelect):
        stage = SelectStage(
            pool=config.pool,
            select=select,
            prompts=_prompts(config, seed),
            theta=tuple(model.parameters_in_billions for model in raters(config)),
        )
        scores = score_stages(config, prompts)
        return Stage("select", stage, tuple((f"score{number}", score) for number, score in enumerate(scores)))
    inputs: tuple[tuple[str, Stage], ...] = ()
    if isinstance(select, RandomRestSelect):
        assert rest_of is not None
        inputs = (("rest_of", select_stage(rest_of, seed, prompts)),)
    counts_tokens = isinstance(select, LengthSelect) and select.unit == "tokens"
    stage = SelectStage(
        pool=config.pool,
        select=select,
        seed=seed if select.strategy in SEEDED_STRATEGIES else None,
        tokenizer=config.model if counts_tokens else None,
    )
    return Stage("select", stage, inputs)


def finetune_stage(config: ArmConfig, seed: int, subset: Stage) -> Stage:
    stage = FinetuneStage(model=config.model, finetune=config.finetune, seed=seed)
    return Stage(f"finetune-{config.finetune.method}", stage, (("subset", subset),))


def evaluate_stage(
    config: ArmConfig,
    benchmark: BenchmarkConfig,
    profile: str,
    seed: int,
    tuned: Stage | None = None,
    adapter: str | None = None,
) -> Stage:
    """Args: tuned: the fine-tuned model; adapter: one that no stage made; neither: the model as it is."""
    evaluate = config.evaluate
    stage = EvaluateStage(
        model=config.model,
        adapter=adapter,
        benchmark=benchmark,
        profile=profile,
        data=evaluate.data,
        limit=evaluate.limit,
        template=config.finetune.template if benchmark.chat_template else None,
        judge=evaluate.judge if benchmark.name == "alpaca_eval" else None,
        sandbox=evaluate.sandbox,
        batch_size=evaluate.batch_size,
        seed=seed if benchmark.temperature > 0 else 0,
    )
    return Stage("evaluate", stage, (("model", tuned),) if tuned is not None else ())
