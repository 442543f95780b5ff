"""Everything that the page and the Markdown show, gathered once: the table, plain listings, sentences, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.render.formats import Listing
from selectit.report.sections import contamination
from selectit.report.sections.arms import arms, costs
from selectit.report.sections.composition import ArmSamples, composition, correlations, samples
from selectit.report.sections.contamination import Contamination
from selectit.report.sections.differing import DifferingRows, differing_rows
from selectit.report.sections.epochs import benchmarks_by_epoch, validation_losses
from selectit.report.sections.fidelity import fidelities
from selectit.report.sections.figures import Plot, draw
from selectit.report.sections.health import answer_health
from selectit.report.sections.losses import above_one, chosen_notes, losses
from selectit.report.sections.prompts import Shown, trained_and_asked
from selectit.report.sections.raters import Unscored, judge_prompts, ledgers, rating_prompts, unscored
from selectit.report.sections.rounding import rounding_notes
from selectit.report.sections.seeds import seed_spread
from selectit.report.sections.sources import given, result_notes, sources
from selectit.report.sections.values import ValueLine, single_values
from selectit.report.sections.verdicts import PublishedSection, verdicts
from selectit.report.tables.comparisons import Comparisons
from selectit.report.tables.results import Result, recipe_of
from selectit.report.tables.significance import findings, listing
from selectit.report.tables.subsets import Overlap, Subset, ties
from selectit.report.tables.table import Table
from selectit.report.tables.texts import Texts


@dataclass(frozen=True)
class ReportContents:
    name: str
    description: str
    recipe_file: str
    baseline: str
    table: Table
    findings: Sequence[str]
    comparisons: Listing
    differing: Sequence[DifferingRows]
    """Items on which a row and its baseline row differ."""
    num_pairs_left_out: int
    """Pairs of rows whose items are not shown."""
    seed_spread: Listing
    published: PublishedSection
    arms: Listing
    arm_notes: Sequence[str]
    plots: Sequence[Plot]
    composition: Listing
    correlations: Listing
    fidelities: Listing
    samples: Sequence[ArmSamples]
    contamination: Listing
    contamination_note: str
    ledgers: Listing
    validation: Listing
    epochs: Listing
    losses: Listing
    above_one: Sequence[str]
    unscored: Sequence[Unscored]
    prompts: Sequence[str]
    """Sources of the rating prompts and the judge prompt."""
    costs: Listing
    cost_note: str
    stages: Listing
    environments: Listing
    given: Listing
    """Inputs from outside."""
    answer_health: Listing
    result_notes: Sequence[str]
    values: Sequence[Sequence[ValueLine]]
    """Every single value, by row of the table."""
    shown: Sequence[Shown]


def gather(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    results: Sequence[Result],
    table: Table,
    comparisons: Comparisons,
    subsets: Sequence[Subset],
    pairs: Sequence[Overlap],
    texts: Texts,
    contaminated: Contamination,
) -> ReportContents:
    evaluations = [result for result in results if not result.is_secondary]
    config = recipe_of(plan).config
    arm_listing, arm_notes = arms(plan, outcomes)
    cost_listing, cost_note = costs(plan, outcomes)
    stages, environments = sources(plan, outcomes)
    differing, num_pairs_left_out = differing_rows(plan, evaluations)
    chosen, subset_numbers = composition(subsets, texts)
    contamination_listing, contamination_note = contamination.listing(contaminated, subsets, table.benchmarks)
    return ReportContents(
        name=config.name,
        description=config.description,
        recipe_file=recipe_of(plan).path.name,
        baseline=config.baselines[0],
        table=table,
        findings=findings(comparisons),
        comparisons=listing(comparisons),
        differing=differing,
        num_pairs_left_out=num_pairs_left_out,
        seed_spread=seed_spread(plan, results, table),
        published=verdicts(plan, outcomes, results, subsets, subset_numbers),
        arms=arm_listing,
        arm_notes=[*arm_notes, *ties(subsets), *chosen_notes(subsets), *rounding_notes(plan, outcomes)],
        plots=draw(plan, outcomes, table, comparisons, subsets, pairs),
        composition=chosen,
        correlations=correlations(subsets),
        fidelities=fidelities(outcomes, subsets),
        samples=samples(subsets, texts),
        contamination=contamination_listing,
        contamination_note=contamination_note,
        ledgers=ledgers(plan, outcomes),
        validation=validation_losses(plan, outcomes),
        epochs=benchmarks_by_epoch(plan, outcomes),
        losses=losses(plan, outcomes),
        above_one=above_one(subsets),
        unscored=unscored(plan, subsets),
        prompts=[*rating_prompts(plan), *judge_prompts(plan, evaluations)],
        costs=cost_listing,
        cost_note=cost_note,
        stages=stages,
        environments=environments,
        given=given(plan, outcomes),
        answer_health=answer_health(evaluations),
        result_notes=result_notes(plan, evaluations),
        values=single_values(plan, results, table.benchmarks),
        shown=trained_and_asked(plan, outcomes, evaluations),
    )
