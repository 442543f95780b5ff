"""Rows that stand for all rows of the pool."""

from __future__ import annotations

from typing import Literal

from selectit.selection.alone import ByVectorsAlone
from selectit.selection.diversity.methods import FacilityLocation


class FacilityLocationSelect(FacilityLocation, ByVectorsAlone):
    """Rows that stand for all rows of the pool: facility location on vectors."""

    strategy: Literal["facility_location"]
