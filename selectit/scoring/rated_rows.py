"""The rows that a rater reads: one of each row of the pool, or with `turns: mean` one of each of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from selectit.config import PoolConfig, Turns
from selectit.data.pool import Row, iter_pool
from selectit.data.turns import answer_pairs

TURN = "\tturn "
"""Between the id of a row and the number of its answer, from the second answer on."""


def rated_rows(pool: PoolConfig, turns: Turns) -> Iterator[Row]:
    """Rows with the instruction and the response that are rated; `index` counts them.

    Raises: as `iter_pool`.
    """
    index = 0
    for row in iter_pool(pool):
        for number, (instruction, response) in enumerate(_pairs(row, turns)):
            named = row.row_id if number == 0 else f"{row.row_id}{TURN}{number + 1}"
            yield replace(row, index=index, row_id=named, instruction=instruction, response=response)
            index += 1


def num_answers(pool: PoolConfig, turns: Turns) -> np.ndarray:
    """int64 [num_rows], how many of `rated_rows` each row of the pool is."""
    return np.fromiter((len(_pairs(row, turns)) for row in iter_pool(pool)), dtype=np.int64)


def ids_of_answers(row_id: str, count: int) -> list[str]:
    return [row_id, *(f"{row_id}{TURN}{number}" for number in range(2, count + 1))]


def _pairs(row: Row, turns: Turns) -> list[tuple[str, str]]:
    """Of an Alpaca row, whose history is what came before, its own answer; answers without words are left out."""
    own = [(row.instruction, row.response)]
    if turns == "first" or row.failure is not None or not row.is_conversation:
        return own
    pairs = [pair for pair in answer_pairs(row.messages) if pair[1].strip()]
    return pairs[-1:] if turns == "last" else pairs
