"""Stages that belong to no recipe: a selection of one pool, and evaluations of one model, with what they found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selectit.config import ArmConfig, NeedsArm, NeedsLosses, NeedsRatings, NeedsTokenizer
from selectit.errors import UserError
from selectit.evaluate.profile import load_profile
from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.plan.stages import evaluate_stage, needed_prompts, select_stage
from selectit.recipe.load import resolve_arm
from selectit.recipe.validate import check_benchmarks
from selectit.selection.examples import example_needs
from selectit.selection.registry import Strategies
from selectit.store.names import RESULT_FILE

OTHER = "selectit"
"""What stands for another arm, where a strategy reads one and no strategy is given for it."""
NO_MODEL = "none"


@dataclass(frozen=True)
class LoneSelection:
    arm: ArmConfig
    others: Mapping[str, ArmConfig]
    """The arms that its strategy reads, by the field that names them."""

    @property
    def needs_model(self) -> bool:
        """Whether it reads a rater, losses or a tokenizer."""
        needs = (need for arm in (self.arm, *self.others.values()) for need in arm.select.all_needs())
        return any(isinstance(need, NeedsRatings | NeedsLosses | NeedsTokenizer) for need in needs)

    def stage(self, seed: int) -> Stage:
        """Raises: UserError where the strategy cannot work with these settings."""
        return select_stage(self.arm, seed, needed_prompts([self.arm, *self.others.values()], [seed]), self.others)


def lone_selection(
    pool: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    score: Mapping[str, Any],
    select: Mapping[str, Any],
    strategies: Strategies,
    ratio: float | None = None,
) -> LoneSelection:
    """Args:   pool, score, select: sections as a recipe has them; models: raters; ratio: also of the arms it reads.
    Raises: UserError listing every fault.
    """

    def arm(section: Mapping[str, Any]) -> ArmConfig:
        raters = {"models": list(models)} if models else {}
        model = models[0] if models else {"path": NO_MODEL}
        sections = {"pool": pool, "model": model, "score": {**score, **raters}, "select": section}
        return resolve_arm(sections, strategies)

    own, others = others_of(strategies, select, ratio)
    return LoneSelection(arm(own), {field: arm(section) for field, section in others.items()})


def others_of(
    strategies: Strategies, fields: Mapping[str, Any], ratio: float | None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The section, and the `select` section of each arm that its strategy reads, by the field that names it.

    There are no arms here: such a field takes the name of a strategy or a section, as in
    `--set 'rest_of={strategy: length, unit: words}'`; without it SelectIT is meant.

    Raises: UserError for one that takes all rows or reads another arm itself, as a recipe refuses it.
    """
    section, others = dict(fields), {}
    given = {name: value for name, value in fields.items() if not isinstance(value, Mapping)}
    for need in example_needs(strategies[str(fields["strategy"])], given):
        if isinstance(need, NeedsLosses) and need.model_of is not None:
            raise UserError(
                f"--strategy {fields['strategy']} reads with a model that another arm trains, and there are no arms "
                "here; write it into a recipe (docs/recipes.md) and run `selectit run RECIPE`"
            )
        if isinstance(need, NeedsArm):
            named = section.get(need.field, {})
            other = {"strategy": OTHER, **(named if isinstance(named, dict) else {"strategy": named})}
            name = str(other["strategy"])
            if name in strategies and not _chooses_by_itself(strategies, name):
                allowed = ", ".join(one for one in strategies if _chooses_by_itself(strategies, one))
                raise UserError(
                    f"--set {need.field}: strategy {name} takes all rows or reads another arm; allowed are {allowed}"
                )
            if ratio is not None and name in strategies.having("ratio"):
                other = {"ratio": ratio, **other}
            section[need.field], others[need.field] = name, other
    return section, others


def _chooses_by_itself(strategies: Strategies, name: str) -> bool:
    schema = strategies[name]
    return not schema.takes_all and not any(isinstance(need, NeedsArm) for need in example_needs(schema))


def lone_evaluations(
    model: Mapping[str, Any], adapter: str | None, evaluate: Mapping[str, Any], template: str, seed: int
) -> dict[str, Stage]:
    """An evaluation for each benchmark of a profile, or for those that are named.

    Args:   model, evaluate: sections as a recipe has them; template: of benchmarks that are asked in chat format.
    Raises: UserError listing every fault.
    """
    arm = resolve_arm(
        {
            "pool": {"path": "none"},
            "model": model,
            "select": {"strategy": "full"},
            "finetune": {"method": "none", "template": template},
            "evaluate": evaluate,
        }
    )
    profile = load_profile(arm.evaluate.profile)
    if faults := check_benchmarks(arm.evaluate, profile):
        raise UserError("\n".join(faults))
    return {
        name: evaluate_stage(arm, benchmark, profile.name, seed, adapter=adapter)
        for name, benchmark in profile.benchmarks.items()
        if arm.evaluate.benchmarks is None or name in arm.evaluate.benchmarks
    }


def results_of(stages: Mapping[str, Stage], outcomes: Mapping[Stage, Outcome]) -> dict[str, dict[str, Any]]:
    """Benchmark -> metric -> `value`, `stderr` and `num_items`; `not_scored` holds why there is no number."""
    results = {}
    for name, stage in stages.items():
        artifact, unscored = outcomes[stage].artifact, outcomes[stage].reason
        metrics = {}
        if artifact is not None:
            result = json.loads((artifact.path / RESULT_FILE).read_text(encoding="utf-8"))
            metrics, unscored = result["metrics"], result["reason"]
        results[name] = {**metrics, **({"not_scored": unscored} if unscored else {})}
    return results
