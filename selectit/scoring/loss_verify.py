"""Checks a finished ledger of losses against the plain way: one row at a time by transformers in float32.

Reads the ledger, the pool and the model; writes verification.json next to the ledger.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import LossStage, SelectDefaults
from selectit.data.pool import iter_pool
from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.inference.batch import Batch
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.loss_rater import PaddedLossRater
from selectit.scoring.loss_ledger import read_losses
from selectit.scoring.loss_texts import loss_texts
from selectit.scoring.verify import (
    SEED,
    TOLERANCES,
    most_different,
    rank_correlation,
    rows_of,
    subset_overlap,
)
from selectit.store.names import LEDGER, LOSSES_RECORD, VERIFICATION
from selectit.tracking import Tracker


def verify_losses(
    config: LossStage, folder: Path, num_rows: int, tracker: Tracker, tolerance: float | None = None
) -> dict[str, Any]:
    """Take the losses of a seeded sample of rows again and compare.

    Args:    folder: holds the ledger of `config`; tolerance: largest difference of a response's mean loss, in nats, for
             which both agree; None: by number type.
    Returns: what verification.json holds: the largest difference of a response's loss and of a whole text's, in
             nats; whether the former is within the tolerance; the rows that differ most;
             rank correlation of the response losses; share of the sample's highest part, at the usual ratio,
             that both choose.
    Raises:  UserError where fewer than two rows have a loss.
    """
    row_ids = [row.row_id for row in iter_pool(config.pool) if row.failure is None]
    losses = read_losses(folder / LEDGER, row_ids)
    whole = [at for at, failure in enumerate(losses.failures) if failure is None]
    if len(whole) < 2:
        raise UserError(f"{folder / LEDGER} holds {len(whole)} losses; a comparison needs two at least")
    sample = sorted(random.Random(SEED).sample(whole, min(num_rows, len(whole))))
    rows = rows_of(iter_pool(config.pool), [row_ids[at] for at in sample])
    reference = PaddedLossRater(load_model(config.model.model_copy(update={"dtype": "float32"})))
    expected = np.empty((len(sample), 2))
    with tracker.progress("verifying", len(sample)) as advance:
        for at, text in enumerate(loss_texts(load_tokenizer(config.model), config, [[row] for row in rows])):
            [sums] = reference.rate(Batch([text]))
            expected[at] = sums / [text.scored.sum(), len(text.ids) - 1]
            advance(1)
    summary = json.loads((folder / LOSSES_RECORD).read_text(encoding="utf-8"))
    found, ratio = losses.response[sample], SelectDefaults().ratio
    apart = float(np.abs(found - expected[:, 0]).max())
    largest_allowed = tolerance if tolerance is not None else TOLERANCES[summary["dtype"] == "float32"]
    result = {
        "num_rows": len(sample),
        "num_rows_of_pool": len(row_ids),
        "rater": summary["rater"],
        "dtype": summary["dtype"],
        "max_response_loss_difference": apart,
        "tolerance": largest_allowed,
        "agrees": apart <= largest_allowed,
        "most_different": most_different([row.row_id for row in rows], found, expected[:, 0]),
        "max_full_loss_difference": float(np.abs(losses.full[sample] - expected[:, 1]).max()),
        "rank_correlation": rank_correlation(found, expected[:, 0]),
        "ratio": ratio,
        "subset_overlap": subset_overlap(found, expected[:, 0], ratio),
    }
    write_whole(folder / VERIFICATION, json.dumps(result, indent=2) + "\n")
    return result
