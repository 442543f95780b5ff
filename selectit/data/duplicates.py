"""Rows of a pool that repeat an earlier row: with equal roles and texts, or with nearly the same words.

Near duplicates are found by MinHash (datasketch) and then compared exactly, so that MinHash can only miss a pair: at
the threshold one in 20,000, above it fewer.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from selectit.data.content import content_of
from selectit.data.row import Row
from selectit.data.turns import words
from selectit.errors import UserError

KINDS = {"exact": "exact_duplicate", "near": "near_duplicate"}
"""`pool.deduplicate` -> why its rows are not used."""
NEAR_JACCARD = 0.8
"""Of two sets of shingles: from here on rows are near duplicates."""
SHINGLE_WORDS = 5
BANDS, ROWS_OF_BAND = 25, 5
SEED = 1
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word, or a character of a script that is written without blanks."""


def repeats(rows: Iterable[Row], how: Literal["exact", "near"]) -> np.ndarray:
    """Args:    rows: of a pool, in its order.
    Returns: int32 [num_rows], of each row the index of the earlier row that it repeats; -1 where it stays.
    """
    return _exact(rows) if how == "exact" else _near(rows)


def first_of_equal(digests: np.ndarray) -> np.ndarray:
    """Args: digests: uint64 [num_rows, 2]. Returns: int32 [num_rows], of each row the first row with its digest."""
    order = np.lexsort((digests[:, 1], digests[:, 0])).astype(np.int32)  # equal ones stay in the order of the rows
    differs = np.ones(len(order), dtype=bool)
    differs[1:] = False
    for half in range(2):
        ordered = digests[order, half]
        differs[1:] |= ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(differs)
    first_of = np.empty(len(order), dtype=np.int32)
    first_of[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
    return first_of


def earlier_equal(contents: bytes | bytearray) -> np.ndarray:
    """Args:    contents: of rows, as `content_of` gives them, concatenated.
    Returns: int32 [num_rows], the first row of equal content; -1 where it is the row itself.
    """
    first_of = first_of_equal(np.frombuffer(contents, dtype="<u8").reshape(-1, 2))
    first_of[first_of == np.arange(len(first_of))] = -1
    return first_of


def _exact(rows: Iterable[Row]) -> np.ndarray:
    contents, usable, num_rows = bytearray(), array("l"), 0
    for row in rows:
        num_rows += 1
        if row.failure is None:
            contents += content_of(row.messages)
            usable.append(row.index)
    found = np.full(num_rows, -1, dtype=np.int32)
    places, earlier = np.array(usable, dtype=np.int64), earlier_equal(contents)
    found[places[earlier >= 0]] = places[earlier[earlier >= 0]]
    return found


def _near(rows: Iterable[Row]) -> np.ndarray:
    """Greedy, in the order of the pool: a row is compared with the earlier rows that stay."""
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise UserError(
            "pool.deduplicate near needs datasketch: pip install -c constraints.txt -e '.[dedup]', or take exact"
        ) from error
    index = MinHashLSH(num_perm=BANDS * ROWS_OF_BAND, params=(BANDS, ROWS_OF_BAND))
    start = MinHash(num_perm=BANDS * ROWS_OF_BAND, seed=SEED, hashfunc=lambda shingle: shingle & 0xFFFFFFFF)
    kept: dict[int, np.ndarray] = {}
    found = array("l")
    for row in rows:
        earlier = -1
        if row.failure is None:
            shingles = shingles_of(row.messages)
            hashed = start.copy()
            hashed.update_batch(shingles.tolist())
            near = (at for at in sorted(index.query(hashed)) if jaccard(shingles, kept[at]) >= NEAR_JACCARD)
            if (earlier := next(near, -1)) < 0:
                index.insert(row.index, hashed, check_duplication=False)
                kept[row.index] = shingles
        found.append(earlier)
    return np.array(found, dtype=np.int32)


def shingles_of(messages: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """uint64, sorted, each once: hashes of the runs of five words of a row, roles included; of fewer words, of all."""
    said = [f"{message['role']}: {words(message).strip()}" for message in messages]
    found = [word for text in said for word in WORD.findall(text.lower())]
    runs = {" ".join(found[at : at + SHINGLE_WORDS]) for at in range(max(len(found) - SHINGLE_WORDS + 1, 1))}
    digests = b"".join(hashlib.blake2b(run.encode(), digest_size=8).digest() for run in runs)
    return np.sort(np.frombuffer(digests, dtype="<u8"))


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Args: one, other: sorted, each value once."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
