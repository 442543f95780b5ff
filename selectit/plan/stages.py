"""From the settings of an arm to its stages: what each one reads, and which settings it takes.

Imports nothing heavy.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from selectit.config import (
    SEEDED_STRATEGIES,
    AnsweringFields,
    ArmConfig,
    BenchmarkConfig,
    Config,
    FinetuneStage,
    IFDSelect,
    Length,
    LossStage,
    ModelConfig,
    PerplexitySelect,
    RatingFields,
    ReadingFields,
    ScoreStage,
    SelectITSelect,
    SelectStage,
    other_arm,
)
from selectit.errors import UserError
from selectit.evaluate.benchmarks.registry import is_judged
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Stage
from selectit.recipe.rows import trains
from selectit.scoring.prompts import read_rating_prompts
from selectit.store.fingerprint import identity_fields
from selectit.templates import RESPONSE_MARKER, template_name

ReadPrompts = Callable[[str, str], tuple[str, ...]]
"""From a location and a fidelity to rating prompts."""


def _prompts(config: ArmConfig, seed: int, read: ReadPrompts) -> tuple[str, ...]:
    """The rating prompts of an arm: the first K, or at token level one drawn with the selection seed."""
    select = config.select
    assert isinstance(select, SelectITSelect)
    prompts = read(config.score.rating_prompts, select.fidelity)
    if select.level == "token":
        return (random.Random(seed).choice(prompts),)
    if select.num_rating_prompts > len(prompts):
        raise UserError(
            f"select.num_rating_prompts is {select.num_rating_prompts}, and {config.score.rating_prompts} "
            f"has {len(prompts)} rating prompts"
        )
    return prompts[: select.num_rating_prompts]


Prompts = Mapping[tuple[Any, ...], tuple[str, ...]]
"""(pool, rater and what else `_rated_alike` names) -> the rating prompts of its score stage."""


def needed_prompts(arms: Iterable[ArmConfig], seeds: Sequence[int], read: ReadPrompts = read_rating_prompts) -> Prompts:
    """The prompts that any arm needs, together, so that each pool is scored once per rater."""
    needed: dict[tuple[Any, ...], dict[str, None]] = {}
    for config in arms:
        if isinstance(config.select, SelectITSelect) and trains(config.finetune):
            for model, seed in itertools.product(config.raters, seeds):
                key = _rated_alike(config, model)
                needed.setdefault(key, {}).update(dict.fromkeys(_prompts(config, seed, read)))
    return {key: tuple(prompts) for key, prompts in needed.items()}


def _rated_alike(config: ArmConfig, model: ModelConfig) -> tuple[Any, ...]:
    return (config.pool, model, *(getattr(config.score, name) for name in identity_fields(RatingFields)))


def _shared(section: Config, fields: type[Config]) -> dict[str, Any]:
    """What a stage takes from a section as it is: the fields of the class that both are made of."""
    return {name: getattr(section, name) for name in fields.model_fields}


def score_stages(config: ArmConfig, prompts: Prompts) -> list[Stage]:
    """One stage for each rater of an arm."""
    return [
        Stage(
            "score",
            ScoreStage(
                pool=config.pool,
                model=model,
                prompts=prompts[_rated_alike(config, model)],
                **_shared(config.score, RatingFields),
            ),
        )
        for model in config.raters
    ]


def loss_stages(config: ArmConfig) -> dict[str, Stage]:
    """The losses that a perplexity or ifd arm is computed from, by the name under which its selection reads them.

    Raises: UserError where the template has no response marker and one is asked for.
    """
    select = config.select
    assert isinstance(select, PerplexitySelect | IFDSelect)
    template = config.finetune.template if select.template == "training" else select.template
    texts: dict[str, Any] = {"conditioned": "conditioned"}
    if isinstance(select, IFDSelect):
        if select.unconditioned == "marker" and template not in RESPONSE_MARKER:
            raise UserError(
                f"select.unconditioned is marker, and template '{template_name(template)}' has no response marker; "
                f"set it to bare, or select.template to {' or '.join(RESPONSE_MARKER)}"
            )
        texts["unconditioned"] = select.unconditioned
    return {
        name: Stage(
            "losses",
            LossStage(
                pool=config.pool,
                model=config.raters[0],
                text=text,
                template=template,
                **_shared(config.score, ReadingFields),
            ),
        )
        for name, text in texts.items()
    }


def select_stage(
    config: ArmConfig,
    seed: int,
    prompts: Prompts,
    other: ArmConfig | None = None,
    read: ReadPrompts = read_rating_prompts,
) -> Stage:
    """Args: other: the arm whose subset `random_rest` leaves out and `random_matched` matches."""
    select = config.select
    if isinstance(select, SelectITSelect):
        stage = SelectStage(
            pool=config.pool,
            select=select,
            keeps_scores=_keeps_scores(config),
            prompts=_prompts(config, seed, read),
            theta=tuple(model.parameters_in_billions for model in config.raters),
        )
        scores = score_stages(config, prompts)
        return Stage("select", stage, tuple((f"score{number}", score) for number, score in enumerate(scores)))
    inputs: tuple[tuple[str, Stage], ...] = ()
    if (named := other_arm(select)) is not None:
        assert other is not None
        inputs = ((named[0], select_stage(other, seed, prompts, None, read)),)
    if isinstance(select, PerplexitySelect | IFDSelect):
        inputs = tuple(loss_stages(config).items())
    counts_tokens = isinstance(select, Length) and select.unit == "tokens"
    stage = SelectStage(
        pool=config.pool,
        select=select,
        keeps_scores=_keeps_scores(config),
        seed=seed if select.strategy in SEEDED_STRATEGIES else None,
        tokenizer=config.model if counts_tokens else None,
    )
    return Stage("select", stage, inputs)


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
