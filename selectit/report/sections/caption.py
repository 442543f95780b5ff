"""What must be read with the table: seeds, metrics, how the average is taken, how large one item is.

Reads and writes nothing; every sentence is computed from the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selectit.config import SelectStage
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Plan
from selectit.report.render import formats
from selectit.report.tables.comparisons import Comparisons
from selectit.report.tables.results import Result, recipe_of, rows_text, settings_of
from selectit.report.tables.significance import significance
from selectit.report.tables.subsets import selection_of
from selectit.report.tables.table import DAGGER, Table, baseline_of
from selectit.store.fingerprint import canonical_json

DEMONSTRATION = "These numbers show that the machinery works. They are not a result."


def caption(plan: Plan, results: Sequence[Result], table: Table, comparisons: Comparisons) -> tuple[str, ...]:
    sentences = [
        _seeds(plan, results),
        _draws(plan),
        _metrics(results, table),
        _average(plan, table),
        _difference(plan),
        *significance(comparisons),
        _items(results, table),
        *_protocols(results, table),
        _incomplete(results, table),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _seeds(plan: Plan, results: Sequence[Result]) -> str:
    seeds = recipe_of(plan).config.seeds
    stated = "; ".join(f"{name} {', '.join(map(str, getattr(seeds, name)))}" for name in ("select", "train", "eval"))
    if seeds.combine == "in_step":
        stated += "; the lists in step"
    if len(seeds.train) == 1:
        return (
            "All values are percent ± the standard error over items (in brackets: training seeds). There is one "
            f"training seed ({stated}), so the errors do not include the spread over training seeds."
        )
    return (
        f"All values are percent ± the standard error over training seeds and items (in brackets: training seeds). "
        f"Seeds: {stated}; a value is the mean over their combinations."
    )


def _draws(plan: Plan) -> str:
    """Rows whose subset is drawn, and once: nothing here knows how another draw would do."""
    once = []
    for row in plan.rows:
        subsets = {stage.config for cell in row.cells if (stage := selection_of(cell)) is not None}
        if len(subsets) == 1 and all(isinstance(s, SelectStage) and s.seed is not None for s in subsets):
            once.append(row.label)
    if not once:
        return ""
    return (
        f"One draw of the subset (selection seed): {rows_text(plan, once)}. Errors and tests do not include how much "
        "another draw would differ; more selection seeds (seeds.select) include it."
    )


def _metrics(results: Sequence[Result], table: Table) -> str:
    stated = []
    for name in table.benchmarks:
        metrics = _distinct(r.record["metric"] for r in _scored(results, name) if r.record.get("metric"))
        if metrics:
            stated.append(f"{name}: {' or '.join(metrics)}")
    configs = [result.cell.stage.config for result in results]
    profiles = _distinct(c.profile for c in configs if isinstance(c, EvaluateStage) and c.profile)
    protocol = f" Profile: {', '.join(profiles)}." if profiles else ""
    return f"Metrics: {'; '.join(stated)}.{protocol}" if stated else protocol.strip()


def _average(plan: Plan, table: Table) -> str:
    if not table.averaged:
        return "average: none, because no benchmark is scored in every row."
    empty = [line.label for line in table.lines if all(entry.mean is None for entry in line.entries)]
    left_out: dict[str, list[str]] = {}
    for at, name in enumerate(table.benchmarks):
        if name not in (*table.averaged, *table.secondary):
            missing = [x.label for x in table.lines if x.entries[at].mean is None and x.label not in empty]
            left_out.setdefault(rows_text(plan, missing), []).append(name)
    sentence = f"average: mean over {formats.names(table.averaged)}"
    if left_out:
        stated = "; ".join(f"{formats.names(found)} (no number for {rows})" for rows, found in left_out.items())
        sentence += f"; left out in all rows: {stated}"
    if table.secondary:
        sentence += f"; {formats.names(table.secondary)}: another metric of the same answers, in no average"
    if empty:
        sentence += f". {rows_text(plan, empty)}: no number at all; ignored when choosing what is averaged"
    return sentence + "."


def _difference(plan: Plan) -> str:
    arm = recipe_of(plan).config.baselines[0]
    sentence = f"difference: the row's average minus that of the baseline row (arm {arm}), in points"
    arms = [row.arm for row in plan.rows]
    if arms.count(arm) > 1:
        alone = [row for row in plan.rows if arms.count(row.arm) == 1]
        bases = {row.label: plan.rows[baseline_of(plan, row)].label for row in alone}
        sentence += " at the same point of the grid"
        for base in dict.fromkeys(bases.values()):
            rows = formats.names([label for label, other in bases.items() if other == base])
            sentence += f" ({rows}, which the grid does not change: {base})"
    return f"{sentence}."


def _items(results: Sequence[Result], table: Table) -> str:
    stated = []
    for name in table.benchmarks:
        if name in table.secondary:
            continue  # its items are those of the column before it, and none is worth the same
        records = [r.record for r in _scored(results, name)]
        numbers = [record["num_items"] for record in records if record.get("num_items")]
        errors = [100 * record["stderr"] for record in records if record.get("stderr") is not None]
        if numbers:
            worth = formats.spread((100 / n for n in numbers), lambda points: f"{points:.{1 if points >= 1 else 3}f}")
            error = f"; {max(errors):.1f}" if errors else ""
            stated.append(f"{name} {worth} ({formats.spread(numbers)}{error})")
    what = "One item in points (number of items; largest standard error over the items)"
    return f"{what}: {', '.join(stated)}." if stated else ""


def _protocols(results: Sequence[Result], table: Table) -> list[str]:
    """A benchmark whose rows were run with different settings or data is not compared, which the caption states."""
    sentences = []
    for name in table.benchmarks:
        found = [settings_of(r.artifact) for r in results if r.artifact is not None and r.cell.benchmark == name]
        keys = sorted({key for settings in found for key in settings})
        differ = [key for key in keys if len({canonical_json(settings.get(key)) for settings in found}) > 1]
        if differ:
            stated = ", ".join(differ)
            sentences.append(f"{name}: not run alike in all rows ({stated}), so its differences compare protocols too.")
    return sentences


def _incomplete(results: Sequence[Result], table: Table) -> str:
    stated: dict[str, list[str]] = {}
    """Note -> the benchmarks it was made of."""
    for name in table.benchmarks:
        for result in _scored(results, name):
            if not result.is_complete:
                for note in result.record.get("notes", ()) or ("not every item of the benchmark was scored",):
                    benchmarks = stated.setdefault(formats.one_line(note), [])
                    benchmarks.extend({name}.difference(benchmarks))
    notes = "; ".join(f"{formats.names(names)}: {note}" for note, names in stated.items())
    return f"{DAGGER} incomplete: {notes.removesuffix('.')}." if stated else ""


def _scored(results: Sequence[Result], benchmark: str) -> list[Result]:
    return [r for r in results if r.cell.benchmark == benchmark and r.missing is None]


def _distinct(items: Any) -> list[str]:
    return list(dict.fromkeys(items))
