"""What a losses stage keeps: one record per row, in ledger.parquet; written through the ledger of the ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.scoring.ledger import NOT_SCORED

NOT_FINITE = "loss_not_finite"
SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("text", pa.string()),
        ("response_loss", pa.float64()),
        ("num_response_tokens", pa.int32()),
        ("full_loss", pa.float64()),
        ("num_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("failure", pa.string()),
    ]
)


@dataclass(frozen=True)
class LossRecord:
    """What one model makes of one row.

    `response_loss` is the mean negative log-likelihood of the `num_response_tokens` response tokens and `full_loss`
    that of all `num_tokens` tokens of the text but its first, in nats; None where `failure` says why there is none.
    """

    row_id: str
    text: str
    response_loss: float | None
    num_response_tokens: int
    full_loss: float | None
    num_tokens: int
    truncated: bool
    failure: str | None = None


@dataclass(frozen=True)
class Losses:
    """A ledger as arrays, in the order of the row ids asked for. Rows without a loss hold NaN."""

    response: np.ndarray  # float64 [num_rows]
    full: np.ndarray  # float64 [num_rows]
    num_response_tokens: np.ndarray  # int64 [num_rows]
    failures: list[str | None]


def read_losses(ledger: Path, row_ids: Sequence[str] | pa.Array) -> Losses:
    """Join a ledger to row ids; a row that is not there has the failure `not_scored`."""
    wanted = pa.array(row_ids, pa.string())
    response, full = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    counts = np.zeros(len(wanted), dtype=np.int64)
    failures: list[str | None] = [NOT_SCORED] * len(wanted)
    columns = ["row_id", "response_loss", "full_loss", "num_response_tokens", "failure"]
    table = parquet.read_table(ledger, columns=columns)
    table = table.append_column("place", compute.index_in(table["row_id"], value_set=wanted))
    table = table.filter(compute.is_valid(table["place"]))
    places = table["place"].to_numpy()
    response[places], full[places] = table["response_loss"].to_numpy(), table["full_loss"].to_numpy()
    counts[places] = table["num_response_tokens"].to_numpy()
    for place, failure in zip(places.tolist(), table["failure"].to_pylist(), strict=True):
        failures[place] = failure
    return Losses(response, full, counts, failures)
