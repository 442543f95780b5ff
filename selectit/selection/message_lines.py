"""messages.jsonl, one line for each selected row: its id, its messages as training reads them, and maybe its score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from selectit.config import PoolConfig
from selectit.data.jsonl import jsonl_lines
from selectit.data.kept import kept_pool
from selectit.data.pool import rows_at


def write_messages(path: Path, pool: PoolConfig, selected: np.ndarray, scores: np.ndarray | None) -> None:
    """Args: selected: bool [num_rows]; scores: float64 [num_rows], None: they are not written."""
    with path.open("w", encoding="utf-8") as f:
        f.writelines(_lines(pool, selected, scores))


def _lines(pool: PoolConfig, selected: np.ndarray, scores: np.ndarray | None) -> Iterator[str]:
    if (kept := kept_pool(pool)) is None:
        for row in rows_at(pool, selected):
            line = {"row_id": row.row_id, "messages": list(row.messages)}
            yield from jsonl_lines([line if scores is None else {**line, "score": float(scores[row.index])}])
        return
    written = None if scores is None else [repr(score) for score in scores[selected].tolist()]
    done = 0
    for ids, messages in kept.messages(selected):
        parts = ['{"row_id": ', ids, ', "messages": ', messages]
        if written is not None:
            parts += [', "score": ', pa.array(written[done : done + len(ids)], pa.string())]
        yield from compute.binary_join_element_wise(*parts, "}\n", "").to_numpy(zero_copy_only=False).tolist()
        done += len(ids)
