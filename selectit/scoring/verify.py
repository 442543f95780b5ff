"""Checks a finished ledger against the plain way of rating: one row at a time by transformers in float32.

Reads the ledger, the pool and the model; writes verification.json next to the ledger.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import ScoreStage, SelectDefaults
from selectit.data.pool import Row
from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.inference.batch import Batch
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.padded import PaddedRater
from selectit.scoring.formula import Fidelity, sentence_scores, token_scores
from selectit.scoring.ledger import read_ratings
from selectit.scoring.rated_rows import rated_rows
from selectit.scoring.texts import rating_texts
from selectit.store.names import LEDGER, SCORE_RECORD, VERIFICATION
from selectit.tracking import Tracker

ALPHA = 0.2
SEED = 0
MOST_SHOWN = 5
TOLERANCES = {True: 1e-3, False: 0.05}
"""Largest difference of a sentence-level score, which lies between 0 and 5, by whether the ledger is in float32: there
paths differ by rounding, some 1e-6; half precision and quantised weights move a score by what they lose.
"""


def verify(
    config: ScoreStage,
    folder: Path,
    num_rows: int,
    fidelity: Fidelity,
    tracker: Tracker,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Rate a seeded sample of rows again and compare.

    Args:    folder: holds the ledger of `config`; tolerance: largest difference of a sentence-level score for which
             both agree; None: by number type.
    Returns: what verification.json holds: the largest difference of a probability, a token-level and a
             sentence-level score, whether that is within the tolerance, the rows that differ most, the
             rank correlation of the sentence-level scores, and the share of the
             sample's best part that both choose at the usual ratio.
    Raises:  UserError where fewer than two rows were rated.
    """
    row_ids = [row.row_id for row in rated_rows(config.pool, config.turns) if row.failure is None]
    prompts = range(len(config.prompts))
    rated = read_ratings(folder / LEDGER, row_ids, prompts)
    whole = [at for at, failure in enumerate(rated.failures) if failure is None]
    if len(whole) < 2:
        raise UserError(f"{folder / LEDGER} holds {len(whole)} rated rows; a comparison needs two at least")
    sample = sorted(random.Random(SEED).sample(whole, min(num_rows, len(whole))))
    rows = rows_of(rated_rows(config.pool, config.turns), [row_ids[at] for at in sample])

    summary = json.loads((folder / SCORE_RECORD).read_text(encoding="utf-8"))
    reference = PaddedRater(
        load_model(config.model.model_copy(update={"dtype": "float32"})),  # not quantised, where the rater was
        list(summary["rating_token_ids"].values()),
    )
    tokenizer = load_tokenizer(config.model)
    expected = np.empty((len(sample), len(prompts), rated.probabilities.shape[2]))
    with tracker.progress("verifying", len(sample) * len(prompts)) as advance:
        for number, prompt in enumerate(config.prompts):
            texts = rating_texts(
                tokenizer, [[row] for row in rows], number, prompt, config.max_length, template=config.template
            )
            place = {row.row_id: at for at, row in enumerate(rows)}
            for text in texts:
                [probabilities] = reference.rate(Batch([text]))
                for row_id, _ in text.keys:
                    expected[place[row_id], number] = probabilities
                    advance(1)

    found = rated.probabilities[sample]
    token, expected_token = (token_scores(p, fidelity, len(prompts)) for p in (found, expected))
    sentence, expected_sentence = (sentence_scores(t, ALPHA) for t in (token, expected_token))
    ratio = SelectDefaults().ratio
    apart = np.abs(sentence - expected_sentence)
    largest_allowed = tolerance if tolerance is not None else TOLERANCES[summary["dtype"] == "float32"]
    result = {
        "num_rows": len(sample),
        "num_rows_of_pool": len(row_ids),
        "rater": summary["rater"],
        "dtype": summary["dtype"],
        "fidelity": fidelity,
        "max_probability_difference": float(np.abs(found - expected).max()),
        "max_token_score_difference": float(np.abs(token - expected_token).max()),
        "max_sentence_score_difference": float(apart.max()),
        "tolerance": largest_allowed,
        "agrees": bool(apart.max() <= largest_allowed),
        "most_different": most_different([row.row_id for row in rows], sentence, expected_sentence),
        "rank_correlation": rank_correlation(sentence, expected_sentence),
        "ratio": ratio,
        "subset_overlap": subset_overlap(sentence, expected_sentence, ratio),
    }
    write_whole(folder / VERIFICATION, json.dumps(result, indent=2) + "\n")
    return result


def most_different(row_ids: Sequence[str], found: np.ndarray, expected: np.ndarray) -> list[dict[str, Any]]:
    """The rows with the largest differences, the largest first."""
    order = np.argsort(-np.abs(found - expected), kind="stable")[:MOST_SHOWN]
    return [{"row_id": row_ids[at], "ledger": float(found[at]), "again": float(expected[at])} for at in order]


def rows_of(rows: Iterable[Row], row_ids: Iterable[str]) -> list[Row]:
    """The rows with these ids, in their order."""
    wanted = set(row_ids)
    return [row for row in rows if row.row_id in wanted]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, equal values taking their mean rank; 0 where all of one are equal."""
    first, second = _ranks(a), _ranks(b)
    if np.array_equal(first, second):
        return 1.0
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def subset_overlap(a: np.ndarray, b: np.ndarray, ratio: float) -> float:
    """Share of the best part by `a` that is in the best part by `b`; ties as in selection, the later row first."""
    count = max(1, int(ratio * len(a)))
    best = [set(sorted(range(len(s)), key=lambda i: (s[i], i), reverse=True)[:count]) for s in (a, b)]
    return len(best[0] & best[1]) / count
