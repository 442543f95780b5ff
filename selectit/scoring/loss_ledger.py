"""What a losses stage keeps: one record per row, in ledger.parquet, and vectors of the rows as float32 matrices.

Written through the ledger of the ratings: while rows are read, vectors are columns of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.config import LossQuantity, LossText, Pooling
from selectit.data.whole_files import whole_file
from selectit.errors import UserError
from selectit.scoring.ledger import NOT_SCORED, in_order
from selectit.store.names import LAST_FILE, LEDGER, MEAN_FILE, WEIGHTED_MEAN_FILE

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
FEATURE_FILES: dict[Pooling, str] = {"mean": MEAN_FILE, "weighted_mean": WEIGHTED_MEAN_FILE, "last": LAST_FILE}
ENTROPIES = ("response_entropy", "full_entropy")


def schema_of(quantities: Sequence[LossQuantity]) -> pa.Schema:
    """Of ledger.parquet."""
    entropies = ENTROPIES if "entropy" in quantities else ()
    return pa.schema([*SCHEMA, *(pa.field(name, pa.float64()) for name in entropies)])


def schema_of_parts(quantities: Sequence[LossQuantity], poolings: Sequence[Pooling], width: int) -> pa.Schema:
    """Of the parts of an unfinished ledger."""
    vectors = [pa.field(name, pa.binary(4 * width)) for name in poolings]
    return pa.schema([*schema_of(quantities), *vectors])


@dataclass(frozen=True)
class LossRecord:
    """What one model makes of one row.

    `response_loss` is the mean negative log-likelihood of the `num_response_tokens` response tokens and `full_loss`
    that of all `num_tokens` tokens of the text but its first, in nats; None where `failure` says why there is none.
    The entropies are means over the same tokens, of the distributions that predict them, and the vectors float32 as
    bytes; None, too, where the stage does not keep them.
    """

    row_id: str
    text: str
    response_loss: float | None
    num_response_tokens: int
    full_loss: float | None
    num_tokens: int
    truncated: bool
    failure: str | None = None
    response_entropy: float | None = None
    full_entropy: float | None = None
    mean: bytes | None = None
    weighted_mean: bytes | None = None
    last: bytes | None = None


@dataclass(frozen=True)
class Losses:
    """A ledger as arrays, in the order of the row ids asked for. Rows without a loss hold NaN."""

    response: np.ndarray  # float64 [num_rows]
    full: np.ndarray  # float64 [num_rows]
    num_response_tokens: np.ndarray  # int64 [num_rows]
    failures: list[str | None]
    response_entropy: np.ndarray | None = None
    """float64 [num_rows]; None where the stage did not keep it."""
    full_entropy: np.ndarray | None = None


def read_losses(ledger: Path, row_ids: Sequence[str] | pa.Array) -> Losses:
    """Join a ledger to row ids; a row that is not there has the failure `not_scored`."""
    wanted = pa.array(row_ids, pa.string())
    response, full = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    counts = np.zeros(len(wanted), dtype=np.int64)
    failures: list[str | None] = [NOT_SCORED] * len(wanted)
    kept = [name for name in ENTROPIES if name in parquet.read_schema(ledger).names]
    columns = ["row_id", "response_loss", "full_loss", "num_response_tokens", "failure", *kept]
    table = parquet.read_table(ledger, columns=columns)
    table = table.append_column("place", compute.index_in(table["row_id"], value_set=wanted))
    table = table.filter(compute.is_valid(table["place"]))
    places = table["place"].to_numpy()
    response[places], full[places] = table["response_loss"].to_numpy(), table["full_loss"].to_numpy()
    counts[places] = table["num_response_tokens"].to_numpy()
    for place, failure in zip(places.tolist(), table["failure"].to_pylist(), strict=True):
        failures[place] = failure
    entropies = {name: np.full(len(wanted), np.nan) for name in kept}
    for name, values in entropies.items():
        values[places] = table[name].to_numpy()
    return Losses(response, full, counts, failures, **entropies)


def write_features(out: Path, pooling: Pooling, text: LossText, row_ids: pa.Array, schema: pa.Schema) -> Path:
    """From the parts of a ledger to a matrix of all rows of a pool, NaN where a row has no vector.

    Args: row_ids: of the pool, in its order; schema: of the parts.
    """
    columns = pa.schema([*list(schema)[:2], schema.field(pooling)])
    width = schema.field(pooling).type.byte_width // 4
    path = out / FEATURE_FILES[pooling]
    with whole_file(path) as part:
        matrix = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(len(row_ids), width))
        matrix[:] = np.nan
        for rows, table in in_order(out, columns, row_ids, text):
            vectors = table[pooling].combine_chunks()
            known = vectors.is_valid().to_numpy(zero_copy_only=False)
            buffer = b"".join(vectors.drop_null().to_pylist())
            matrix[rows[known]] = np.frombuffer(buffer, dtype=np.float32).reshape(-1, width)
        matrix.flush()
        del matrix
    return path


def read_features(folder: Path, pooling: Pooling, row_ids: pa.Array) -> np.ndarray:
    """float32 [num_rows, width], memory-mapped, NaN where a row has no vector; the pool's order.

    Args:   folder: of a finished losses stage over the pool whose row ids these are.
    Raises: UserError where they are not, or the stage did not keep these vectors.
    """
    path = folder / FEATURE_FILES[pooling]
    if not path.is_file():
        raise UserError(f"{folder} has no {path.name}: its stage did not keep it; run it again with this arm")
    matrix = np.load(path, mmap_mode="r")
    known = parquet.read_table(folder / LEDGER, columns=["row_id"])["row_id"]
    places = compute.index_in(known, value_set=row_ids).fill_null(-1).to_numpy()
    if len(matrix) != len(row_ids) or (np.diff(places, prepend=-1) <= 0).any():
        raise UserError(f"{path} has {len(matrix)} rows of another pool than the {len(row_ids)} rows asked for")
    return matrix
