"""Everything that the page and the Markdown show, gathered once: the table, plain listings, sentences, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selectit.engine import Outcome
from selectit.graph import Plan, Stage
from selectit.report.arms import arms, costs
from selectit.report.figures import Plot, draw
from selectit.report.formats import Listing
from selectit.report.prompts import Shown, trained_and_asked
from selectit.report.raters import Unscored, judge_prompts, ledgers, rating_prompts, unscored
from selectit.report.results import Result, recipe_of
from selectit.report.sources import result_notes, sources
from selectit.report.subsets import Overlap, Subset
from selectit.report.table import Table


@dataclass(frozen=True)
class Contents:
    name: str
    description: str
    recipe_file: str
    baseline: str
    table: Table
    arms: Listing
    arm_notes: Sequence[str]
    plots: Sequence[Plot]
    ledgers: Listing
    unscored: Sequence[Unscored]
    prompts: Sequence[str]
    """Whose wording the rating prompts and the judge prompt are."""
    costs: Listing
    cost_note: str
    stages: Listing
    environments: Listing
    result_notes: Sequence[str]
    shown: Sequence[Shown]


def gather(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    results: Sequence[Result],
    table: Table,
    subsets: Sequence[Subset],
    pairs: Sequence[Overlap],
) -> Contents:
    config = recipe_of(plan).config
    arm_listing, arm_notes = arms(plan, outcomes)
    cost_listing, cost_note = costs(plan, outcomes)
    stages, environments = sources(plan, outcomes)
    return Contents(
        name=config.name,
        description=config.description,
        recipe_file=recipe_of(plan).path.name,
        baseline=config.baseline,
        table=table,
        arms=arm_listing,
        arm_notes=arm_notes,
        plots=draw(plan, outcomes, table, subsets, pairs),
        ledgers=ledgers(plan, outcomes),
        unscored=unscored(plan, subsets),
        prompts=[*rating_prompts(plan), *judge_prompts(plan, results)],
        costs=cost_listing,
        cost_note=cost_note,
        stages=stages,
        environments=environments,
        result_notes=result_notes(plan, results),
        shown=trained_and_asked(plan, outcomes, results),
    )
