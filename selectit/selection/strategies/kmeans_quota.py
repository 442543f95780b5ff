"""As many rows from each cluster of vectors."""

from __future__ import annotations

from typing import ClassVar, Literal

from selectit.selection.alone import ByVectorsAlone
from selectit.selection.diversity.methods import KMeansQuota


class KMeansQuotaSelect(KMeansQuota, ByVectorsAlone):
    """Rows drawn from clusters of vectors, as many from each."""

    draws: ClassVar[bool] = True

    strategy: Literal["kmeans_quota"]
