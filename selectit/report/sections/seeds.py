"""The spread over seeds, by purpose: how much comes from the subset, how much from training, how much from sampling.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selectit.plan.graph import Plan
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.results import Result
from selectit.report.tables.table import Table
from selectit.statistics.seeds import PURPOSES, REST, variance_components

NAMES = {"select": "selection seed", "train": "training seed", "eval": "evaluation seed", REST: "rest"}
NOTE = (
    "Standard deviation in points that the seeds of each purpose contribute by themselves (variance components; a "
    "negative estimate is 0). The rest is what no single purpose explains, such as a training that turns out otherwise "
    "on another subset."
)


def section(plan: Plan, results: Sequence[Result], table: Table) -> Section | None:
    """Row and purpose by benchmark, in points; None where no row varies in two purposes, in all combinations."""
    values: dict[tuple[str, str], dict[tuple[int, int, int], float]] = {}
    for result in results:
        if result.value is not None:
            cell = result.cell
            seeds = (cell.select_seed, cell.train_seed, cell.eval_seed)
            values.setdefault((result.row.label, cell.benchmark), {})[seeds] = formats.percent(result.value)
    split = {key: variance_components(found) for key, found in values.items()}
    if not any(len(spread) > 1 for spread in split.values()):
        return None
    rows = []
    for row in plan.rows:
        for purpose in (*PURPOSES, REST):
            spreads = [split.get((row.label, name), {}).get(purpose) for name in table.benchmarks]
            if any(spread is not None for spread in spreads):
                shown = (ABSENT if spread is None else f"{spread:.2f}" for spread in spreads)
                rows.append((row.label, NAMES[purpose], *shown))
    listing = Listing(("arm", "from the", *table.benchmarks), tuple(rows), num_text_columns=2)
    return Section("Spread over seeds by purpose", (listing, Note(NOTE)))
