"""From the settings of an arm to its stages: what each one reads, and which settings it takes.

Imports nothing heavy.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from selectit.config import (
    AnsweringFields,
    ArmConfig,
    BenchmarkConfig,
    Config,
    FinetuneStage,
    LossQuantity,
    LossStage,
    ModelConfig,
    NeedsArm,
    NeedsLosses,
    NeedsModelOfArm,
    NeedsRatings,
    NeedsTokenizer,
    RatingFields,
    ReadingFields,
    ScoreStage,
    SelectStage,
)
from selectit.config.losses import ordered_quantities
from selectit.errors import UserError
from selectit.evaluate.benchmarks.registry import is_judged
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Stage
from selectit.recipe.rows import trains
from selectit.scoring.prompts import read_rating_prompts
from selectit.selection.strategy import models_read, strategy_of
from selectit.store.fingerprint import identity_fields

ReadPrompts = Callable[[str, str], tuple[str, ...]]
"""From a location and a fidelity to rating prompts."""


def _prompts(config: ArmConfig, need: NeedsRatings, seed: int, read: ReadPrompts) -> tuple[str, ...]:
    """The rating prompts of an arm: the first K, or one drawn with the selection seed."""
    prompts = read(config.score.rating_prompts, need.fidelity)
    if need.num_prompts is None:
        return (random.Random(seed).choice(prompts),)
    if need.num_prompts > len(prompts):
        raise UserError(
            f"select.num_rating_prompts is {need.num_prompts}, and {config.score.rating_prompts} "
            f"has {len(prompts)} rating prompts"
        )
    return prompts[: need.num_prompts]


Prompts = Mapping[tuple[Any, ...], tuple[str, ...]]
"""(pool, rater and what else `_rated_alike` names) -> the rating prompts of its score stage."""


def needed_prompts(arms: Iterable[ArmConfig], seeds: Sequence[int], read: ReadPrompts = read_rating_prompts) -> Prompts:
    """The prompts that any arm needs, together, so that each pool is scored once per rater."""
    needed: dict[tuple[Any, ...], dict[str, None]] = {}
    for config in arms:
        ratings = [need for need in config.select.all_needs() if isinstance(need, NeedsRatings)]
        for need in ratings if trains(config.finetune) else ():
            for model, seed in itertools.product(config.raters, seeds):
                key = _rated_alike(config, model)
                needed.setdefault(key, {}).update(dict.fromkeys(_prompts(config, need, seed, read)))
    return {key: tuple(prompts) for key, prompts in needed.items()}


def _rated_alike(config: ArmConfig, model: ModelConfig) -> tuple[Any, ...]:
    return (config.pool.as_rated(), model, *(getattr(config.score, name) for name in identity_fields(RatingFields)))


def _shared(section: Config, fields: type[Config]) -> dict[str, Any]:
    """What a stage takes from a section as it is: the fields of the class that both are made of."""
    return {name: getattr(section, name) for name in fields.model_fields}


def score_stages(config: ArmConfig, prompts: Prompts) -> list[Stage]:
    """One stage for each rater of an arm."""
    return [
        Stage(
            "score",
            ScoreStage(
                pool=config.pool.as_rated(),
                model=model,
                prompts=prompts[_rated_alike(config, model)],
                **_shared(config.score, RatingFields),
            ),
        )
        for model in config.raters
    ]


Quantities = Mapping[tuple[LossStage, str | None], tuple[LossQuantity, ...]]
"""(a losses stage of the loss alone, the arm whose trained model reads) -> all that one forward pass of it gives."""


def needed_quantities(arms: Iterable[ArmConfig]) -> Quantities:
    """What any arm needs of a text, together, so that each model reads it once."""
    needed: dict[tuple[LossStage, str | None], set[LossQuantity]] = {}
    for config in arms:
        for need in config.select.all_needs() if trains(config.finetune) else ():
            if isinstance(need, NeedsLosses):
                needed.setdefault(_read_alike(config, need), set()).update(need.quantities)
    return {key: ordered_quantities(wanted) for key, wanted in needed.items()}


def _read_alike(config: ArmConfig, need: NeedsLosses) -> tuple[LossStage, str | None]:
    stage = LossStage(
        pool=config.pool.as_rated(),
        model=config.raters[0],
        text=need.text,
        template=config.finetune.template if need.template == "training" else need.template,
        **_shared(config.score, ReadingFields),
    )
    return stage, None if need.model_of is None else need.model_of.arm


def loss_stages(
    config: ArmConfig, quantities: Quantities | None = None, tuned: Mapping[str, Stage] | None = None
) -> dict[str, Stage]:
    """The losses that an arm's strategy asks for, by the name under which its selection reads them.

    Args:   quantities: of all arms of a recipe; None: of this one alone.
        tuned: the trainings of the arms whose models read, by the field that names them.
    Raises: UserError where the strategy cannot work with the arm's settings.
    """
    strategy_of(config).check_arm(config)
    quantities = {**needed_quantities([config]), **(quantities or {})}
    stages = {}
    for need in config.select.all_needs():
        if isinstance(need, NeedsLosses):
            key = _read_alike(config, need)
            wanted = quantities.get(key) or ordered_quantities(need.quantities)
            inputs = () if need.model_of is None else (("model", (tuned or {})[need.model_of.field]),)
            stages[need.name] = Stage("losses", key[0].model_copy(update={"quantities": wanted}), inputs)
    return stages


def select_stage(
    config: ArmConfig,
    seed: int,
    prompts: Prompts,
    others: Mapping[str, ArmConfig] | None = None,
    read: ReadPrompts = read_rating_prompts,
    quantities: Quantities | None = None,
    train_seed: int = 0,
) -> Stage:
    """The selection of an arm: each thing that its strategy needs becomes a stage, or a setting of its own.

    Args:   others: the arms whose subsets or models it reads, by the field that names them; quantities: as
        `loss_stages` takes them; train_seed: of the trainings of these arms, where their models are read.
    Raises: UserError where the strategy cannot work with the arm's settings.
    """
    strategy = strategy_of(config)
    strategy.check_arm(config)
    strategy.sentence(config), strategy.score_name()  # what the report asks must not fail after the training

    def subset_of(field: str) -> Stage:
        assert others is not None
        return select_stage(others[field], seed, prompts, None, read, quantities)

    tuned = {
        need.field: finetune_stage(others[need.field], train_seed, subset_of(need.field))
        for need in models_read(strategy)
        if others is not None
    }
    losses = loss_stages(config, quantities, tuned)
    own: dict[str, Any] = {"seed": seed} if strategy.has_seed else {}
    inputs: list[tuple[str, Stage]] = []
    for need in strategy.all_needs():
        match need:
            case NeedsRatings():
                own["prompts"] = _prompts(config, need, seed, read)
                own["theta"] = tuple(model.parameters_in_billions for model in config.raters)
                inputs += [(f"score{number}", stage) for number, stage in enumerate(score_stages(config, prompts))]
            case NeedsLosses():
                inputs.append((need.name, losses[need.name]))
            case NeedsModelOfArm():
                inputs.append((need.field, tuned[need.field]))
            case NeedsArm():
                inputs.append((need.field, subset_of(need.field)))
            case NeedsTokenizer():
                own["tokenizer"] = config.model
    stage = SelectStage(pool=config.pool, select=strategy, keeps_scores=_keeps_scores(config), **own)
    return Stage("select", stage, tuple(inputs))


def _keeps_scores(config: ArmConfig) -> bool:
    return config.finetune.order == "curriculum"


def finetune_stage(config: ArmConfig, seed: int, subset: Stage) -> Stage:
    stage = FinetuneStage(
        model=config.model,
        finetune=config.finetune,
        seed=seed,
        bad_rows=config.pool.bad_rows,
        keep_epochs=config.evaluate.checkpoints == "all",
    )
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
    fields = _shared(config.evaluate, AnsweringFields)
    if not is_judged(benchmark.name):
        fields["judge"] = None
    if isinstance(benchmark, NamedTaskConfig):
        fields["data"] = "hub"
    stage = EvaluateStage(
        **fields,
        model=config.model,
        adapter=adapter,
        benchmark=benchmark,
        profile=profile,
        template=config.finetune.template if benchmark.chat_template else None,
        seed=seed if benchmark.temperature > 0 else 0,
    )
    return Stage("evaluate", stage, (("model", tuned),) if tuned is not None else ())
