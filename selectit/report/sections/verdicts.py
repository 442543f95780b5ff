"""Published results next to ours, each with a verdict: agrees, differs, too imprecise to tell, or not comparable.

Reads the files that the recipe names in `published`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from selectit.plan.graph import Plan, Stage, TableRow
from selectit.plan.outcome import Outcome
from selectit.recipe.published import Published, PublishedNumber, read_published
from selectit.recipe.published.numbers import AVERAGE, UNTRAINED
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Bullets, Listing, Note, Paragraph, Part, Section
from selectit.report.sections.published_settings import Ours, all_settings, is_local, selection, why_not
from selectit.report.sections.runs import Runs, runs
from selectit.report.tables.results import UNTOUCHED, Result, recipe_of
from selectit.report.tables.subsets import Subset
from selectit.statistics.equivalence import (
    LEAST_SEEDS,
    Equivalence,
    Error,
    compare,
    error_of_published,
    items_needed,
    seeds_needed,
)

NOT_COMPARABLE = "not comparable"
IMPRECISE = "too imprecise to tell"
COLUMNS = (
    "paper", "published as", "benchmark", "row here", "verdict", "why", "published", "ours", "difference",
    "95 % interval", "seeds here",
)  # fmt: skip
RULE = (
    "A verdict is given where every setting is known on both sides and equal: model and pool by hub id or content, "
    "rows of the pool, strategy with its settings, ratio, training, evaluation profile by content, metric, items, "
    "limit, unit and judge. Agrees: two one-sided tests at 5 % reject a difference of {margin} points or more "
    "(margin). Differs: they do not, and the 95 % interval of the difference excludes 0. Too imprecise to "
    "tell: neither, or fewer than {least} seeds. The error is that over our training seeds, joined with the published "
    "one where the paper gives it; where it does not, the published value is taken as exact. A demonstration is never "
    "compared."
)


@dataclass
class _Lines:
    """Collects the lines; each reason of `not comparable` is stated once and has a number."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def reason(self, text: str) -> str:
        return f"[{self.reasons.setdefault(text, len(self.reasons) + 1)}]"


@dataclass(frozen=True)
class _Candidate:
    """A row, with what its settings are read from, and one of its columns."""

    row: TableRow
    ours: Ours


def section(
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    results: Sequence[Result],
    subsets: Sequence[Subset],
    subset_numbers: Mapping[tuple[str, str], float],
) -> Section | None:
    """One line for each published number whose benchmark is in the table, and each of the nearest rows of its strategy.

    Args: subset_numbers: (row label, `subset` of a published number) -> ours, in its unit.
    """
    config = recipe_of(plan).config
    papers = [read_published(location) for location in config.published_files]
    if not papers:
        return None
    lines, rest = _Lines(), dict[tuple[str, str], list[PublishedNumber]]()
    first = {subset.row.label: subset for subset in reversed(subsets)}
    benchmarks = {_benchmark(result) for result in results}
    for paper in papers:
        for number in paper.numbers:
            if reason := _left_out(number, plan, benchmarks):
                rest.setdefault((paper.paper, reason), []).append(number)
            elif number.subset is not None:
                _add_subset_line(lines, paper, number, plan, subset_numbers)
            else:
                of_column = _candidates(number, plan, outcomes, results, first)
                for one in _nearest(number, of_column):
                    _add_line(lines, paper, number, one, config.demonstration, config.margin)
    parts: list[Part] = [Paragraph(f"Sources: {'; '.join(dict.fromkeys(paper.source for paper in papers))}.")]
    if lines.rows:
        parts += [Listing(COLUMNS, tuple(lines.rows), num_text_columns=6)]
    parts += [Bullets(tuple(lines.reasons), style="notes", is_numbered=True)]
    if rest:
        parts += [Paragraph("Published numbers that are not listed:"), Bullets(tuple(_rest(rest)), style="notes")]
    parts += [Note(RULE.format(margin=f"{config.margin:g}", least=LEAST_SEEDS))]
    return Section("Published results", parts, anchor="published", short="Published")


def verdict(runs: Runs, number: PublishedNumber, margin: float) -> tuple[str, str, Equivalence | None]:
    """Verdict and explanation of a number whose settings are equal; and the tests, where there are enough seeds.

    Args: margin: in points.
    """
    theirs = error_of_published(number.std and number.std * number.scale, number.num_seeds)
    difference = runs.value - number.value * number.scale
    if not runs.are_enough:
        needed = f"{runs.text}, and at least {LEAST_SEEDS} of each are needed"
        return IMPRECISE, _planned(needed, runs, margin, theirs), None
    errors = [*runs.errors, *([theirs] if theirs else [])]
    if runs.seeds and not sum(error.variance for error in runs.errors):
        return (
            IMPRECISE,
            "all seeds gave the same value, and no number of items is known that would bound the error",
            None,
        )
    # nothing is random in a greedy evaluation of an untrained model: one item is allowed for rounding of its numbers
    found = compare(difference, errors, margin, slack=0.0 if runs.seeds else runs.resolution)
    if found.verdict == IMPRECISE:
        return IMPRECISE, _planned(f"the interval is wider than {margin:g} points allow", runs, margin, theirs), found
    if found.verdict == "differs":
        return "differs", f"by {abs(difference):.1f} points", found
    more = "; the difference is significant, and smaller than that" if found.significant else ""
    if theirs is None and runs.seeds:
        more += "; the published error is unknown"
    return "agrees", f"within {margin:g} points{more}", found


def _planned(why: str, runs: Runs, margin: float, theirs: Error | None) -> str:
    """With the seeds and the items that would be enough."""
    deviation = runs.deviation
    if not runs.seeds:
        return f"{why}; {int(100 / margin) + 1} items would be enough, {runs.num_items} were asked"
    if deviation is None:
        return f"{why}; how many would be enough cannot be estimated from one value"
    seeds = seeds_needed(deviation, margin, theirs)
    items = f" of {runs.num_items:,} items" if runs.num_items else ""
    enough = f"about {seeds:,} seeds{items} would be enough" if seeds else f"no 1,000 seeds{items} would be enough"
    if not (runs.is_mean_over_items and runs.num_items):
        return f"{why}; {enough}"
    number = max(LEAST_SEEDS, runs.num_seeds)
    needed = items_needed(deviation, runs.num_items, margin, number, theirs)
    if needed > runs.num_items:
        enough += f", or {number} seeds of about {needed:,} items"
    elif needed == 0:
        enough += ", for the published error alone is too large"
    return f"{why}; {enough}"


def _left_out(number: PublishedNumber, plan: Plan, benchmarks: set[str]) -> str:
    """Why a number has no line; an empty text where it has one."""
    if number.benchmark == AVERAGE:
        return "averaged over several benchmarks, of which only the single numbers are compared"
    if number.benchmark is not None and number.benchmark not in benchmarks:
        return "of benchmarks that this table does not have"
    if number.strategy is None:
        return "of methods that are none of our strategies"
    if not any(_strategy(row) == number.strategy for row in plan.rows):
        return "of strategies that no arm here has"
    return ""


def _rest(rest: Mapping[tuple[str, str], Sequence[PublishedNumber]]) -> Iterator[str]:
    for (paper, reason), numbers in rest.items():
        kind = "arm" if "benchmarks" not in reason else "benchmark"
        names = list(dict.fromkeys(str(getattr(number, kind)) for number in numbers))
        yield f"{paper}: {len(numbers)} {'number' if len(numbers) == 1 else 'numbers'} {reason} ({', '.join(names)})"


def _candidates(
    number: PublishedNumber,
    plan: Plan,
    outcomes: Mapping[Stage, Outcome],
    results: Sequence[Result],
    subsets: Mapping[str, Subset],
) -> list[_Candidate]:
    """Each row of the number's strategy, once for each column of the benchmark; if there is one, that of its metric."""
    found = []
    for row in plan.rows:
        if _strategy(row) != number.strategy:
            continue
        own = [r for r in results if r.row.label == row.label and _benchmark(r) == number.benchmark]
        columns: dict[str, list[Result]] = {}
        for result in own:
            columns.setdefault(result.cell.benchmark, []).append(result)
        named = {c: rs for c, rs in columns.items() if number.metric in {r.record.get("metric") for r in rs}}
        main = {column: rs for column, rs in columns.items() if not rs[0].is_secondary}
        subset = subsets.get(row.label)
        raters = _raters(subset, outcomes)
        for of_column in (named or main).values():
            scored = [result for result in of_column if result.value is not None]
            found.append(_Candidate(row, Ours(row.config, subset, raters, scored)))
    return found


def _nearest(number: PublishedNumber, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Those whose selection differs least from the number's: a published ratio meets the row of that ratio."""
    apart = [sum(setting.differs for setting in selection(number, one.ours)) for one in candidates]
    return [one for one, number_of in zip(candidates, apart, strict=True) if number_of == min(apart)]


def _raters(subset: Subset | None, outcomes: Mapping[Stage, Outcome]) -> tuple[object, ...]:
    """Identities of the models that rated, each once."""
    found: dict[str, object] = {}
    for _, stage in subset.stage.inputs if subset is not None else ():
        artifact = outcomes.get(stage, UNTOUCHED).artifact
        if stage.kind in ("score", "losses") and artifact is not None:
            identity = artifact.manifest["identity"]["config"]["model"]["path"]
            found[repr(identity)] = identity
    return tuple(found.values())


def _add_line(
    lines: _Lines, paper: Published, number: PublishedNumber, one: _Candidate, demonstration: bool, margin: float
) -> None:
    first = [paper.paper, _as_published(number), number.what, one.row.label]
    published = _value(number, number.value)
    if not one.ours.results:
        lines.rows.append((*first, NOT_COMPARABLE, lines.reason("there is no number here"), published, *[ABSENT] * 4))
        return
    found = runs(one.row.config, one.ours.results)
    ours = f"{found.value:.2f} %"
    difference = ABSENT if number.unit == "number" else formats.points(found.value - number.value * number.scale)
    reasons = ["this recipe is a demonstration"] if demonstration else []
    if reasons := reasons + why_not(all_settings(number, one.ours)):
        why = lines.reason("; ".join([*reasons, *_in_words(number)]))
        lines.rows.append((*first, NOT_COMPARABLE, why, published, ours, difference, ABSENT, found.text))
        return
    word, why, test = verdict(found, number, margin)
    if number.data is None and is_local(one.ours):
        why += "; the benchmark's data are those of a local folder, which nothing here compares with the paper's"
    interval = ABSENT if test is None else f"{formats.points(test.low)} to {formats.points(test.high)}"
    lines.rows.append((*first, word, why, published, ours, difference, interval, found.text))


def _add_subset_line(
    lines: _Lines,
    paper: Published,
    number: PublishedNumber,
    plan: Plan,
    subset_numbers: Mapping[tuple[str, str], float],
) -> None:
    """A property of the rows that were selected; no paper states how it measures it."""
    rows = [row.label for row in plan.rows if _strategy(row) == number.strategy]
    values = [subset_numbers.get((label, number.what)) for label in rows]
    ours = formats.spread(values, lambda value: _value(number, value))
    why = lines.reason("; ".join(["how the paper measures it is unknown", *_in_words(number)]))
    first = (paper.paper, _as_published(number), number.what, formats.names(rows))
    lines.rows.append((*first, NOT_COMPARABLE, why, _value(number, number.value), ours, *[ABSENT] * 3))


def _in_words(number: PublishedNumber) -> list[str]:
    return [f"in words: {number.setting}"] if number.setting else []


def _as_published(number: PublishedNumber) -> str:
    return f"{number.arm}; {number.table}" if number.table else number.arm


def _value(number: PublishedNumber, value: float) -> str:
    return f"{value * number.scale:.2f}" + ("" if number.unit == "number" else " %")


def _benchmark(result: Result) -> str:
    return result.cell.stage.config.benchmark.name  # type: ignore[union-attr]


def _strategy(row: TableRow) -> str:
    return row.config.select.strategy if trains(row.config.finetune) else UNTRAINED
