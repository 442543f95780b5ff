"""What a selection keeps of a pool: some columns of it, in its order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from selectit.config import PoolConfig, SelectStage
from selectit.data.duplicates import KINDS
from selectit.data.kept import kept_pool
from selectit.data.pool import iter_pool, repeated_rows
from selectit.selection.strategy import Candidates

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class PoolColumns:
    """What is kept of a pool while rows are chosen from it; all in its order."""

    row_ids: pa.Array
    """Text [num_rows]."""
    failures: Sequence[str | None]
    """Why rows cannot be selected."""
    response_chars: np.ndarray
    """int64 [num_rows], characters of the responses."""
    strata: pa.Array | None
    """Text [num_rows], see `Candidates.strata`."""
    repeated: np.ndarray | None = None
    """int32 [num_rows], see `repeated_rows`."""

    def candidates(self, config: SelectStage, inputs: Mapping[str, Path] | None = None) -> Candidates:
        return Candidates(config, self.row_ids, tuple(self.failures), inputs or {}, self.strata)


def read_columns(pool: PoolConfig) -> PoolColumns:
    """Raises: UserError, as `iter_pool`."""
    if (kept := kept_pool(pool)) is not None:
        strata = None if pool.stratify_by is None else kept.column("stratum")
        failures, repeated = kept.column("failure").to_pylist(), repeated_rows(pool)
        for at in [] if repeated is None else np.flatnonzero(repeated >= 0).tolist():
            failures[at] = KINDS[pool.deduplicate or ""]
        return PoolColumns(kept.column("row_id"), failures, kept.response_chars(), strata, repeated)
    row_ids, failures, response_chars, strata = [], [], [], []
    rows = iter_pool(pool)
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        row_ids.append(pa.array([row.row_id for row in chunk], pa.string()))
        failures += [row.failure for row in chunk]
        response_chars.append(np.array([len(row.response) for row in chunk], dtype=np.int64))
        strata.append(pa.array([row.stratum for row in chunk], pa.string()))
    return PoolColumns(
        pa.concat_arrays(row_ids),
        failures,
        np.concatenate(response_chars),
        None if pool.stratify_by is None else pa.concat_arrays(strata),
        repeated_rows(pool),
    )
