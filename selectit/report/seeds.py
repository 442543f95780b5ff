"""The spread over seeds, by purpose: how much comes from the subset, how much from training, how much from sampling.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selectit.graph import Plan
from selectit.report import formats
from selectit.report.formats import ABSENT, Listing
from selectit.report.results import Result
from selectit.report.table import Table
from selectit.statistics.seeds import PURPOSES, split_spread

NAMES = {"select": "selection seed", "train": "training seed", "eval": "evaluation seed"}
SEED_SPREAD = (
    "Standard deviation in points over the seeds of one purpose while those of the others stay, pooled over the others."
)


def seed_spread(plan: Plan, results: Sequence[Result], table: Table) -> Listing:
    """Row and purpose by benchmark, in points; empty where no row varies in two purposes."""
    values: dict[tuple[str, str], dict[tuple[int, int, int], float]] = {}
    for result in results:
        if result.value is not None:
            cell = result.cell
            seeds = (cell.select_seed, cell.train_seed, cell.eval_seed)
            values.setdefault((result.row.label, cell.benchmark), {})[seeds] = formats.percent(result.value)
    split = {key: split_spread(found) for key, found in values.items()}
    if not any(len(spread) > 1 for spread in split.values()):
        return Listing((), ())
    rows = []
    for row in plan.rows:
        for purpose in PURPOSES:
            spreads = [split.get((row.label, name), {}).get(purpose) for name in table.benchmarks]
            if any(spread is not None for spread in spreads):
                told = (ABSENT if spread is None else f"{spread:.2f}" for spread in spreads)
                rows.append((row.label, NAMES[purpose], *told))
    return Listing(("arm", "over the", *table.benchmarks), tuple(rows), num_text_columns=2)
