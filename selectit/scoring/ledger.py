"""The ledger: one record per (row, rating prompt), kept on disk as it comes.

While scoring, records go to `ledger/part-NNNNN.parquet`, each put in place whole; at the end they become
`ledger.parquet`. What a killed run had written is read back and not scored again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from selectit.config import NUM_RATINGS

LEDGER = "ledger.parquet"
PARTS = "ledger"
FLUSH_SECONDS = 15
SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("prompt", pa.int32()),
        ("probabilities", pa.list_(pa.float64(), NUM_RATINGS)),
        ("mass", pa.float64()),
        ("num_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("failure", pa.string()),
    ]
)


@dataclass(frozen=True)
class Record:
    """What one rater said of one row under one rating prompt.

    `probabilities` are the next-token probabilities of "1".."5" over the whole vocabulary and `mass` their
    sum; both are None where `failure` names why there are none. `prompt` counts from 0 in the stage's list.
    """

    row_id: str
    prompt: int
    probabilities: list[float] | None
    mass: float | None
    num_tokens: int
    truncated: bool
    failure: str | None = None


class LedgerWriter:
    """Collects records and flushes them every few seconds.

    Args:
        out: the stage's folder.
        schema: the fields of a record; the first two are its key, row id first.
    """

    def __init__(self, out: Path, schema: pa.Schema = SCHEMA) -> None:
        self._out, self._parts, self._schema = out, out / PARTS, schema
        self._parts.mkdir(exist_ok=True)
        self._records: list[Any] = []
        self._flushed = time.monotonic()

    def done(self) -> set[tuple[str, Any]]:
        """The keys, (row id, prompt) of ratings, of everything that is on disk already."""
        key = self._schema.names[:2]
        return {
            (row_id, prompt)
            for part in sorted(self._parts.glob("part-*.parquet"))
            for row_id, prompt in zip(
                *(parquet.read_table(part, columns=key)[c].to_pylist() for c in key),
                strict=True,
            )
        }

    def add(self, records: Sequence[Any]) -> None:
        self._records += records
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._records:
            number = len(list(self._parts.glob("part-*.parquet")))
            path = self._parts / f"part-{number:05d}.parquet"
            part = path.with_suffix(".tmp")
            parquet.write_table(pa.Table.from_pylist([asdict(r) for r in self._records], self._schema), part)
            os.replace(part, path)
            self._records = []
        self._flushed = time.monotonic()

    def finish(self, order: Sequence[str]) -> pa.Table:
        """Write `ledger.parquet`, prompt by prompt in the order of the row ids, and drop the parts."""
        self.flush()
        tables = [parquet.read_table(part) for part in sorted(self._parts.glob("part-*.parquet"))]
        table = pa.concat_tables(tables) if tables else self._schema.empty_table()
        position = {row_id: index for index, row_id in enumerate(order)}
        row_ids, prompts = (table[name].to_pylist() for name in self._schema.names[:2])
        keys = zip(prompts, row_ids, strict=True)
        ranked = sorted((prompt, position[row_id], at) for at, (prompt, row_id) in enumerate(keys))
        table = table.take([at for *_, at in ranked])
        part = self._out / f"{LEDGER}.tmp"
        parquet.write_table(table, part)
        os.replace(part, self._out / LEDGER)
        shutil.rmtree(self._parts)
        return table


@dataclass(frozen=True)
class Ratings:
    """A ledger as arrays. Rows without a rating hold NaN."""

    probabilities: np.ndarray  # float64 [num_rows, num_prompts, NUM_RATINGS]
    failures: list[str | None]
    """Per row: why it has no rating under some prompt."""


def read_ratings(ledger: Path, row_ids: Sequence[str], prompts: Sequence[int]) -> Ratings:
    """Join a ledger to row ids.

    Args: prompts: positions in the score stage's prompt list, in the order wanted.
    """
    table = parquet.read_table(ledger)
    row_of = {row_id: index for index, row_id in enumerate(row_ids)}
    column_of = {prompt: index for index, prompt in enumerate(prompts)}
    probabilities = np.full((len(row_ids), len(prompts), NUM_RATINGS), np.nan)
    failures: list[str | None] = ["not_scored"] * len(row_ids)
    for record in table.to_pylist():
        row, column = row_of.get(record["row_id"]), column_of.get(record["prompt"])
        if row is None or column is None:
            continue
        if record["failure"] is None:
            probabilities[row, column] = record["probabilities"]
            if failures[row] == "not_scored":
                failures[row] = None
        else:
            failures[row] = record["failure"]
    incomplete = np.isnan(probabilities).any(axis=(1, 2))
    return Ratings(
        probabilities, [f or ("not_scored" if bad else None) for f, bad in zip(failures, incomplete, strict=True)]
    )
