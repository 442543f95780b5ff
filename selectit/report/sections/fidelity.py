"""Sensitivity of a subset to the formula: the readings of its method, computed from the same ledgers.

Reads ledger.parquet and score.json of the score artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.results import UNTOUCHED
from selectit.report.tables.subsets import Subset, first_seed
from selectit.scoring.formula import Fidelity
from selectit.selection import steps
from selectit.selection.ranking import ranking
from selectit.selection.strategy import Candidates, strategy_of

FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)
MOST_ROWS = 24
NOTE = (
    "Overlap (Jaccard index) of the rows that two variants of the formula select, at the arm's own number of rows. "
    "A dash: one of the two has no result for this arm."
)


def section(outcomes: Mapping[Stage, Outcome], subsets: Sequence[Subset]) -> Section | None:
    listing = fidelities(outcomes, subsets)
    return Section("Sensitivity to the formula", (listing, Note(NOTE))) if listing.rows else None


def fidelities(outcomes: Mapping[Stage, Outcome], subsets: Sequence[Subset]) -> Listing:
    """One line per arm whose strategy has several readings, and whose ledgers are here."""
    rows: list[tuple[str, ...]] = []
    for subset in first_seed(subsets):
        artifacts = {name: outcomes.get(stage, UNTOUCHED).artifact for name, stage in subset.stage.inputs}
        if steps.words(strategy_of(subset.config)):
            continue  # its subset is not that of the highest scores
        if len(rows) == MOST_ROWS or not artifacts or any(artifact is None for artifact in artifacts.values()):
            continue
        chosen = _chosen(subset, {name: artifact.path for name, artifact in artifacts.items() if artifact})
        if not chosen:
            continue
        own = str(getattr(subset.config.select, "fidelity", ""))
        agrees = chosen.get(own) == set(np.flatnonzero(subset.selected).tolist())
        overlaps = [_jaccard(chosen.get(one), chosen.get(other)) for one, other in _pairs()]
        rows.append((subset.row.label, own if agrees else f"{own}; the ledger gives others", *overlaps))
    columns = ("arm", "its own", *(f"{one} and {other}".replace("_", " ") for one, other in _pairs()))
    return Listing(columns, tuple(rows), num_text_columns=2)


def _pairs() -> list[tuple[Fidelity, Fidelity]]:
    return [(one, other) for at, one in enumerate(FIDELITIES) for other in FIDELITIES[at + 1 :]]


def _chosen(subset: Subset, inputs: Mapping[str, Path]) -> dict[str, set[int] | None]:
    """Reading of the method -> the positions that it would take; None where it has no result."""
    pool = Candidates(subset.config, pa.array(subset.all_ids, pa.string()), [None] * len(subset.all_ids), inputs)
    readings = strategy_of(subset.config).readings(pool)
    usable = np.isfinite(subset.scores)
    return {
        name: None if scores is None else set(ranking(np.where(usable, scores, np.nan))[: len(subset.row_ids)])
        for name, scores in readings.items()
    }


def _jaccard(one: set[int] | None, other: set[int] | None) -> str:
    return ABSENT if not one or not other else f"{len(one & other) / len(one | other):.2f}"
