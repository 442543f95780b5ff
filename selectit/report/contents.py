"""Everything that the page and the Markdown show, gathered once: the sections in their order, and the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.section import Section
from selectit.report.sections import (
    arms,
    comparisons,
    composition,
    contamination,
    differing,
    epochs,
    fidelity,
    health,
    losses,
    prompts,
    raters,
    result_figures,
    results,
    rounding,
    seeds,
    sources,
    subset_figures,
    training_figures,
    values,
    verdicts,
)
from selectit.report.sections.figures import Plot
from selectit.report.tables.comparisons import Comparisons
from selectit.report.tables.results import Result, recipe_of
from selectit.report.tables.subsets import Overlap, Subset, first_seed, ties
from selectit.report.tables.table import Table
from selectit.report.tables.texts import Texts


@dataclass(frozen=True)
class ReportContents:
    name: str
    description: str
    recipe_file: str
    demonstration: str
    """The warning of a demonstration; empty of any other recipe."""
    sections: Sequence[Section]


def gather(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    found: Sequence[Result],
    table: Table,
    tests: Comparisons,
    subsets: Sequence[Subset],
    pairs: Sequence[Overlap],
    texts: Texts,
    contaminated: contamination.Contamination,
) -> ReportContents:
    """Args: found: the results of the stages; tests: the comparisons of the table."""
    config = recipe_of(plan).config
    evaluations = [result for result in found if not result.is_secondary]
    selected, subset_numbers = composition.composition(subsets, texts)
    plots = draw(plan, outcomes, table, tests, subsets, pairs)
    notes = [*ties(subsets), *losses.chosen_notes(subsets), *rounding.rounding_notes(plan, outcomes)]
    sections = (
        results.results(table),
        results.differences(table),
        comparisons.section(tests),
        seeds.section(plan, found, table),
        differing.section(plan, evaluations),
        verdicts.section(plan, outcomes, found, subsets, subset_numbers),
        arms.arms(plan, outcomes, notes),
        epochs.validation(plan, outcomes),
        epochs.benchmarks(plan, outcomes),
        selected,
        contamination.section(contaminated, subsets, table.benchmarks),
        composition.correlations(subsets),
        fidelity.section(outcomes, subsets),
        composition.samples(subsets, texts),
        Section("Plots", plots, anchor="plots") if plots else None,
        raters.scoring(plan, outcomes),
        losses.section(plan, outcomes, subsets),
        raters.unscored(plan, subsets),
        raters.prompts(plan, evaluations),
        prompts.section(plan, outcomes, evaluations),
        arms.costs(plan, outcomes),
        Section("Sources of each number", (), anchor="sources"),
        health.section(evaluations),
        sources.notes(plan, evaluations),
        values.section(plan, found, table.benchmarks),
        sources.inputs(plan, outcomes),
        *sources.stages(plan, outcomes),
    )
    return ReportContents(
        name=config.name,
        description=config.description,
        recipe_file=recipe_of(plan).path.name,
        demonstration=table.demonstration,
        sections=[section for section in sections if section is not None],
    )


def draw(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    table: Table,
    comparisons: Comparisons,
    subsets: Sequence[Subset],
    pairs: Sequence[Overlap],
) -> list[Plot]:
    """Every plot for which there are numbers, in the order of the page."""
    one_each = first_seed(subsets)
    plots = (
        result_figures.differences(plan, table, comparisons),
        result_figures.ratio_curves(plan, table),
        subset_figures.score_distributions(one_each),
        subset_figures.response_lengths(one_each),
        training_figures.tokens_per_row(plan, outcomes),
        subset_figures.overlap(one_each, pairs),
        training_figures.training_loss(plan, outcomes),
        training_figures.validation_loss(plan, outcomes),
        result_figures.epoch_curves(plan, outcomes),
    )
    return [plot for plot in plots if plot is not None]
