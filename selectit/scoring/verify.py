"""Checks a finished ledger against the plain way of rating: one row at a time by transformers in float32.

Reads the ledger, the pool and the model; writes verification.json next to the ledger.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import ScoreStage
from selectit.inference.batch import Batch
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.padded import PaddedRater
from selectit.scoring.agreement import drawn_rows, rows_of, write_agreement
from selectit.scoring.formula import Fidelity, sentence_scores, token_scores
from selectit.scoring.ledger import read_ratings
from selectit.scoring.rated_rows import rated_rows
from selectit.scoring.texts import rating_texts
from selectit.store.names import LEDGER, SCORE_RECORD
from selectit.tracking import Tracker

ALPHA = 0.2


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
    sample = drawn_rows(folder, rated.failures, num_rows)
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
    details = {
        "num_rows_of_pool": len(row_ids),
        "fidelity": fidelity,
        "max_probability_difference": float(np.abs(found - expected).max()),
        "max_token_score_difference": float(np.abs(token - expected_token).max()),
        "max_sentence_score_difference": float(np.abs(sentence - expected_sentence).max()),
    }
    return write_agreement(folder, summary, rows, sentence, expected_sentence, tolerance, details)
