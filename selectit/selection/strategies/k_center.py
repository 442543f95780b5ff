"""Rows that cover the pool at the smallest distance."""

from __future__ import annotations

from typing import ClassVar, Literal

from selectit.selection.alone import ByVectorsAlone
from selectit.selection.diversity.methods import KCenter


class KCenterSelect(KCenter, ByVectorsAlone):
    """Always the row farthest from all that were taken: k-center on vectors."""

    draws: ClassVar[bool] = True

    strategy: Literal["k_center"]
