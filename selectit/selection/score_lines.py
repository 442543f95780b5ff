"""scores.jsonl, one line for each row of a pool: made column by column, for there may be millions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from selectit.data.jsonl import jsonl_lines
from selectit.data.jsonl_columns import json_texts
from selectit.selection.checks import plain
from selectit.selection.columns import PoolColumns
from selectit.selection.strategy import Detail, Strategy
from selectit.store.names import SCORES_FILE

CHUNK_ROWS = 65536
OWN = ("row", "row_id", "score", "rank", "selected", "failure", "response_chars")
REPEATS = "repeats_row"
"""With `pool.deduplicate`: the earlier row."""


def write_scores(
    path: Path,
    strategy: Strategy,
    pool: PoolColumns,
    scores: np.ndarray,
    rank: np.ndarray,
    selected: np.ndarray,
    failures: Sequence[str | None],
    details: Detail | None,
) -> None:
    """Args: scores, rank, selected: [num_rows]; details: what the strategy adds to a row.

    Raises: UserError where a strategy adds one of `OWN`.
    """
    with path.open("wb") as f:
        for start in range(0, len(scores), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            columns: list[Any] = [
                np.arange(start, min(start + CHUNK_ROWS, len(scores))),
                json_texts(pool.row_ids[part]),
                [repr(score) if math.isfinite(score) else "null" for score in scores[part].tolist()],
                rank[part],
                selected[part],
                json_texts(pa.array(failures[part], pa.string())),
                pool.response_chars[part],
            ]
            parts: list[Any] = []
            names = OWN if pool.repeated is None else (*OWN, REPEATS)
            columns += [] if pool.repeated is None else [_or_null(pool.repeated[part])]
            for name, column in zip(names, columns, strict=True):
                parts += [f'{", " if parts else "{"}"{name}": ', pa.array(column).cast(pa.string())]
            ends = (
                "}\n" if details is None else pa.array(map(_ends(strategy, details), columns[0].tolist()), pa.string())
            )
            lines = compute.binary_join_element_wise(*parts, ends, "")
            f.write(lines.buffers()[2])


def _or_null(rows: np.ndarray) -> pa.Array:
    return pa.array(rows, mask=rows < 0).cast(pa.string()).fill_null("null")


def _ends(strategy: Strategy, details: Detail) -> Callable[[int], str]:
    def end(at: int) -> str:
        added = plain(strategy, (*OWN, REPEATS), details(at), SCORES_FILE)
        [line] = jsonl_lines([added])
        return f", {line[1:]}" if added else "}\n"

    return end
