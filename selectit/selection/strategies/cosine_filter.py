"""Rows that are like no row that was taken before them."""

from __future__ import annotations

from typing import ClassVar, Literal

from selectit.selection.alone import ByVectorsAlone
from selectit.selection.diversity.methods import CosineFilter


class CosineFilterSelect(CosineFilter, ByVectorsAlone):
    """Rows that are like no row taken before, by the cosine of their vectors."""

    draws: ClassVar[bool] = True

    strategy: Literal["cosine_filter"]
