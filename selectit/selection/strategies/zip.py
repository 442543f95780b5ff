"""Rows that compress badly together: ZIP's greedy selection in three stages."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from selectit.config import ArmConfig
from selectit.errors import UserError
from selectit.selection.picked import picked
from selectit.selection.strategy import Candidates, Scored, ShareStrategy


class ZipSelect(ShareStrategy):
    """Rows that add the least redundancy, by how far zlib compresses them together (ZIP)."""

    strategy: Literal["zip"]
    num_candidates: int = Field(10_000, ge=1)
    """Rows of the lowest compression ratio whose ratio behind all that is selected is computed in a turn (K1)."""
    num_kept: int = Field(200, ge=1)
    """Of these, the rows of the lowest ratio among which a turn picks (K2)."""
    num_picked: int = Field(100, ge=1)
    """Rows that a turn picks (K3)."""
    fidelity: Literal["released_code", "corrected"] = "corrected"
    """What becomes of the rows that a turn kept and did not pick: released_code loses them; corrected leaves them in
    the pool, and takes fewer candidates where fewer rows are left."""

    def score_name(self) -> None:
        return None

    def check_size(self, num_rows: int, num_eligible: int) -> None:
        count = self.count(num_rows, num_eligible)
        if not self.num_picked <= self.num_kept <= self.num_candidates:
            raise UserError(
                f"select.num_picked {self.num_picked}, num_kept {self.num_kept} and num_candidates "
                f"{self.num_candidates}: each may be at most as large as the next"
            )
        num_turns = -(-count // self.num_picked)
        if self.fidelity == "released_code" and (num_turns - 1) * self.num_kept + self.num_candidates > num_eligible:
            raise UserError(
                f"select.fidelity released_code: {num_turns} turns of num_kept {self.num_kept} rows leave fewer than "
                f"num_candidates {self.num_candidates} of {num_eligible} rows, where the released code fails or picks "
                "rows twice; lower num_candidates, num_kept or ratio, or set fidelity to corrected"
            )

    def preflight(self, pool: Candidates) -> None:
        self.check_size(len(pool), int(pool.usable.sum()))

    def scores(self, pool: Candidates) -> Scored:
        usable = pool.usable
        self.preflight(pool)
        at = np.flatnonzero(usable)
        texts = [str(row.raw).encode() for row in pool.rows() if usable[row.index]]
        alone = CompressedList().ratios_with(texts)
        order = zip_order(
            texts,
            alone,
            self.count(len(pool), len(at)),
            (self.num_candidates, self.num_kept, self.num_picked),
            rejected_are_lost=self.fidelity == "released_code",
        )
        by_row = dict(zip(at.tolist(), alone.tolist(), strict=True))
        return picked(
            at[order],
            usable,
            details=lambda row: {"compression_ratio": by_row.get(row)},
            record={"zlib_version": zlib.ZLIB_RUNTIME_VERSION},
        )

    def sentence(self, arm: ArmConfig) -> str:
        stages = f"{self.num_candidates}, {self.num_kept} and {self.num_picked} rows in a turn"
        return f"greedy by zlib's compression ratio, {stages}, fidelity {self.fidelity}"

    def notes(self, selection: Mapping[str, Any]) -> list[str]:
        return [f"compressed by zlib {selection['zlib_version']}; another version may choose other rows"]


class CompressedList:
    """A growing list of rows as Python writes it, compressed as far as it is known."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(9)
        self._num_bytes = self._num_compressed = 0
        self._feed(b"[")

    def _feed(self, text: bytes) -> None:
        self._num_bytes += len(text)
        self._num_compressed += len(self._compressor.compress(text))

    def append(self, text: bytes) -> None:
        self._feed(text + b", ")

    def ratios_with(self, texts: Iterable[bytes]) -> np.ndarray:
        """float32 [num_texts], bytes over compressed bytes of the list with each text as its last element.

        What all these lists begin with is compressed once, and its state copied: the compressed bytes are the same.
        """
        return np.fromiter(map(self._ratio_with, texts), dtype=np.float32)

    def _ratio_with(self, text: bytes) -> float:
        rest = self._compressor.copy()
        num_compressed = self._num_compressed + len(rest.compress(text + b"]")) + len(rest.flush())
        return (self._num_bytes + len(text) + 1) / num_compressed


def zip_order(
    texts: Sequence[bytes], alone: np.ndarray, count: int, sizes: tuple[int, int, int], rejected_are_lost: bool
) -> list[int]:
    """Rows in the order in which ZIP picks them.

    Args:
        texts: each row as Python writes it.
        alone: float32 [num_rows], compression ratio of each row by itself.
        count: how many are picked; the released code goes on to the end of the turn.
        sizes: candidates, kept and picked rows of a turn.
        rejected_are_lost: as in the released code.
    Returns: count positions. Of equal ratios the lower position comes first; where a turn picks, the row of the lower
        ratio behind all that is selected.
    Source:  USTC-StarTeam/ZIP at f77b0b5.
    """
    num_candidates, num_kept, num_picked = sizes
    ratios, live = alone.copy(), np.ones(len(texts), dtype=bool)
    selected, order = CompressedList(), list[int]()
    while len(order) < count:
        left = np.flatnonzero(live)
        candidates = _lowest(ratios, left, num_candidates)
        if order:
            ratios[candidates] = selected.ratios_with(texts[at] for at in candidates)
        kept = _lowest(ratios, candidates, num_kept)
        turn = _picked_in_a_turn(texts, kept.tolist(), min(num_picked, len(kept)))
        for at in turn:
            selected.append(texts[at])
        order += turn
        live[kept if rejected_are_lost else turn] = False
    return order[:count]


def _lowest(ratios: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Positions of the lowest ratios; of equal ones the first of `among`."""
    return among[np.argsort(ratios[among], kind="stable")[:count]]


def _picked_in_a_turn(texts: Sequence[bytes], kept: Sequence[int], count: int) -> list[int]:
    """Greedily the row of the lowest ratio behind the picks of this turn alone."""
    picks, left, turn = CompressedList(), list(kept), list[int]()
    for _ in range(count):
        turn.append(left.pop(int(np.argmin(picks.ratios_with(texts[at] for at in left)))))
        picks.append(texts[turn[-1]])
    return turn
