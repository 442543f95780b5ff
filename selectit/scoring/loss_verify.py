"""Checks a finished ledger of losses against the plain way: one row at a time by transformers in float32.

Reads the ledger, the pool and the model; writes verification.json next to the ledger.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import LossStage
from selectit.data.pool import iter_pool
from selectit.inference.batch import Batch
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.token_rater import PaddedTokenRater, loss
from selectit.scoring.agreement import drawn_rows, rows_of, write_agreement
from selectit.scoring.loss_ledger import read_losses
from selectit.scoring.loss_texts import loss_texts
from selectit.store.names import LEDGER, LOSSES_RECORD
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
    sample = drawn_rows(folder, losses.failures, num_rows)
    rows = rows_of(iter_pool(config.pool), [row_ids[at] for at in sample])
    reference = PaddedTokenRater(load_model(config.model.model_copy(update={"dtype": "float32"})), (loss,))
    expected = np.empty((len(sample), 2))
    with tracker.progress("verifying", len(sample)) as advance:
        for at, text in enumerate(loss_texts(load_tokenizer(config.model), config, [[row] for row in rows])):
            [sums] = reference.rate(Batch([text]))
            expected[at] = sums / [text.scored.sum(), len(text.ids) - 1]
            advance(1)
    summary = json.loads((folder / LOSSES_RECORD).read_text(encoding="utf-8"))
    found = losses.response[sample]
    details = {
        "num_rows_of_pool": len(row_ids),
        "max_response_loss_difference": float(np.abs(found - expected[:, 0]).max()),
        "max_full_loss_difference": float(np.abs(losses.full[sample] - expected[:, 1]).max()),
    }
    return write_agreement(folder, summary, rows, found, expected[:, 0], tolerance, details)
