"""Ratings reused from finished ledgers: the same rater on the same token ids says the same again.

Reads score.json and ledger.parquet of other score artifacts of the same checkpoint; the engine names their
folders. What else the probabilities depend on must agree: see `basis`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.inference.batch import PADDED_PATH
from selectit.scoring.ledger import DIGEST_BYTES, SCHEMA, ratings_of
from selectit.store.names import LEDGER, SCORE_RECORD

RENAMED = {"stock": PADDED_PATH}
"""Paths, as the score.json of finished work may name them."""


def basis(rating_ids: Sequence[int], dtype: str, rater: str, device: str) -> dict[str, Any]:
    """What next to weights and token ids decides the probabilities, as score.json holds it."""
    return {
        "rating_token_ids": dict(zip("12345", rating_ids, strict=True)),
        "dtype": dtype,
        "rater": rater,
        "device": device,
    }


def digest_of(ids: np.ndarray) -> bytes:
    """Args: ids: token ids of a whole rating text. Returns: DIGEST_BYTES bytes."""
    return hashlib.blake2b(ids.astype("<i4").tobytes(), digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True)
class StoredRating:
    probabilities: np.ndarray  # float64 [NUM_RATINGS]
    source: str
    """Name of the artifact folder."""


class EarlierRatings:
    """What finished ledgers say under the rating prompt that is being worked on.

    Args:
        folders: finished score artifacts of the same checkpoint.
        wanted: the `basis` of this stage; a ledger of another one answers nothing.
    """

    def __init__(self, folders: Sequence[Path], wanted: Mapping[str, Any]) -> None:
        self._ledgers: list[tuple[Path, list[str]]] = []
        for folder in folders:
            details = json.loads((folder / SCORE_RECORD).read_text(encoding="utf-8"))
            details["rater"] = RENAMED.get(details["rater"], details["rater"])
            agrees = {key: details[key] for key in wanted} == wanted
            if agrees and parquet.read_schema(folder / LEDGER).equals(SCHEMA):
                self._ledgers.append((folder, details["prompts"]))
        self._prompt: str | None = None
        self._index = _Index.of([])

    def answer(self, prompt: str, digests: Sequence[bytes]) -> list[StoredRating | None]:
        """For each digest the ratings of the same token ids under the same prompt, or None.

        The ledgers' records of one prompt are in memory at a time: call it prompt by prompt.
        """
        if prompt != self._prompt:
            self._prompt = prompt
            self._index = _Index.of(
                [(folder, prompts.index(prompt)) for folder, prompts in self._ledgers if prompt in prompts]
            )
        return self._index.find(digests)


@dataclass(frozen=True)
class _Index:
    """Records sorted by the first half of their digest."""

    digests: np.ndarray  # uint64 [num_records, 2]
    probabilities: np.ndarray  # float64 [num_records, NUM_RATINGS]
    sources: np.ndarray  # int32 [num_records], position in `names`
    names: list[str]

    @classmethod
    def of(cls, ledgers: Sequence[tuple[Path, int]]) -> _Index:
        digests, probabilities, sources = [], [], []
        for number, (folder, prompt) in enumerate(ledgers):
            table = parquet.read_table(
                folder / LEDGER, columns=["digest", "probabilities", "failure"], filters=[("prompt", "=", prompt)]
            )
            table = table.filter(compute.is_null(table["failure"]))
            buffer = b"".join(table["digest"].to_pylist())
            digests.append(_halves(buffer))
            probabilities.append(ratings_of(table))
            sources.append(np.full(len(table), number, dtype=np.int32))
        names = [folder.name for folder, _ in ledgers]
        if not names:
            return cls(_halves(b""), np.empty((0, 0)), np.empty(0, dtype=np.int32), names)
        found = np.concatenate(digests)
        order = np.argsort(found[:, 0], kind="stable")
        return cls(found[order], np.concatenate(probabilities)[order], np.concatenate(sources)[order], names)

    def find(self, digests: Sequence[bytes]) -> list[StoredRating | None]:
        wanted = _halves(b"".join(digests))
        places = np.searchsorted(self.digests[:, 0], wanted[:, 0])
        found: list[StoredRating | None] = []
        for place, halves in zip(places.tolist(), wanted, strict=True):
            same = place < len(self.digests) and (self.digests[place] == halves).all()
            found.append(
                StoredRating(self.probabilities[place], self.names[self.sources[place]]) if same else None
            )  # of two digests with one first half, of which there are none, the second would be rated again
        return found


def _halves(digests: bytes) -> np.ndarray:
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
