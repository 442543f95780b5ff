"""Sensitivity of a SelectIT subset to the formula: its three fidelities, computed from the same ledger.

Reads ledger.parquet and score.json of the score artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from selectit.config import SelectITSelect
from selectit.errors import UserError
from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.results import UNTOUCHED
from selectit.report.tables.subsets import Subset, first_seed
from selectit.scoring.formula import Fidelity, model_scores, sentence_scores, token_scores
from selectit.scoring.ledger import read_ratings
from selectit.selection.strategies import ranking
from selectit.store.names import LEDGER, SCORE_RECORD

FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)
MOST_ROWS = 24
NOTE = (
    "Overlap (Jaccard index) of the rows that two variants of the formula select, at the arm's own number of rows. "
    "A dash: one of the two has no result for this arm."
)
Probabilities = dict[tuple[str, tuple[str, ...]], tuple[np.ndarray, float]]


def section(outcomes: Mapping[Stage, Outcome], subsets: Sequence[Subset]) -> Section | None:
    listing = fidelities(outcomes, subsets)
    return Section("Sensitivity to the formula", (listing, Note(NOTE))) if listing.rows else None


def fidelities(outcomes: Mapping[Stage, Outcome], subsets: Sequence[Subset]) -> Listing:
    """One line per SelectIT arm whose ledgers are available."""
    read: Probabilities = {}
    rows = []
    for subset in [s for s in first_seed(subsets) if isinstance(s.config.select, SelectITSelect)][:MOST_ROWS]:
        artifacts = [outcomes.get(stage, UNTOUCHED).artifact for name, stage in sorted(subset.stage.inputs)]
        if not artifacts or any(artifact is None for artifact in artifacts):
            continue
        folders = [str(artifact.path) for artifact in artifacts if artifact]
        chosen = {fidelity: _subset(subset, folders, fidelity, read) for fidelity in FIDELITIES}
        own = subset.config.select
        assert isinstance(own, SelectITSelect)
        agrees = chosen[own.fidelity] == set(np.flatnonzero(subset.selected).tolist())
        overlaps = [_jaccard(chosen[one], chosen[other]) for one, other in _pairs()]
        rows.append(
            (subset.row.label, own.fidelity if agrees else f"{own.fidelity}; the ledger gives others", *overlaps)
        )
    columns = ("arm", "its own", *(f"{one} and {other}".replace("_", " ") for one, other in _pairs()))
    return Listing(columns, tuple(rows), num_text_columns=2)


def _pairs() -> list[tuple[Fidelity, Fidelity]]:
    return [(one, other) for at, one in enumerate(FIDELITIES) for other in FIDELITIES[at + 1 :]]


def _subset(subset: Subset, folders: Sequence[str], fidelity: Fidelity, read: Probabilities) -> set[int] | None:
    """Positions that a fidelity would take; None where the released code has no result."""
    config, select = subset.config, subset.config.select
    assert isinstance(select, SelectITSelect)
    k = 5 if select.level == "token" else len(config.prompts)
    theta = []
    sentence = np.empty((len(subset.all_ids), len(folders)))
    try:
        for number, folder in enumerate(folders):
            probabilities, size = _probabilities(subset, folder, read)
            theta.append(config.theta[number] or size)
            token = token_scores(probabilities, fidelity, k)
            sentence[:, number] = token[:, 0] if select.level == "token" else sentence_scores(token, select.alpha)
        scores = model_scores(sentence, theta, fidelity) if select.level == "model" else sentence[:, 0]
    except UserError:
        return None  # K or a number of models for which that code has no formula; docs/methods.md
    scores = np.where(np.isfinite(subset.scores), scores, np.nan)
    return set(ranking(scores)[: len(subset.row_ids)])


def _probabilities(subset: Subset, folder: str, read: Probabilities) -> tuple[np.ndarray, float]:
    """float64 [num_rows, num_prompts, NUM_RATINGS], and the rater's parameters in billions."""
    key = folder, subset.config.prompts
    if key not in read:
        scored = json.loads((Path(folder) / SCORE_RECORD).read_text(encoding="utf-8"))
        prompts = [scored["prompts"].index(prompt) for prompt in subset.config.prompts]
        ratings = read_ratings(Path(folder) / LEDGER, subset.all_ids, prompts)
        read[key] = ratings.probabilities, scored["num_parameters"] / 1e9
    return read[key]


def _jaccard(one: set[int] | None, other: set[int] | None) -> str:
    return ABSENT if not one or not other else f"{len(one & other) / len(one | other):.2f}"
