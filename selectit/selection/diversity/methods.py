"""The methods by vectors as fields of a recipe: of a strategy of their own, and of `diversify` behind any score.

Rows come best first; a strategy of its own gives them in a drawn order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from selectit.config import FileLocation, GrownConfig, Need, NeedsFeatures, SelectTemplate
from selectit.config.losses import Pooling
from selectit.errors import UserError
from selectit.selection.diversity.cosine_filter import cosine_filter
from selectit.selection.diversity.facility_location import facility_location
from selectit.selection.diversity.k_center import k_center
from selectit.selection.diversity.kmeans_quota import equal_quota, kmeans_labels, released_quota, weighted_order

ALONE, OF_STEP = "vectors", "vectors_of_step"
"""Under which name a strategy of its own, and a step, reads the model's vectors."""
NEAR_DUPLICATE = "near_duplicate"
MOST_OF_EXP = 690
"""Scores above it have no exp in float64 that can be summed."""


@dataclass(frozen=True)
class Rows:
    """Rows that may be taken, best first."""

    vectors: np.ndarray
    """float32 [num_rows, width]"""
    positions: np.ndarray
    """int64 [num_rows], places in the pool."""
    scores: np.ndarray
    """float64 [num_rows]"""
    numbers: np.ndarray
    """float64 [num_rows], uniform in [0, 1) by selection seed and row id."""
    seed: int

    def first(self, count: int) -> Rows:
        some = slice(count)
        return Rows(self.vectors[some], self.positions[some], self.scores[some], self.numbers[some], self.seed)


@dataclass(frozen=True)
class Taken:
    """What a method takes of rows; all positions are among the rows that it was given."""

    order: np.ndarray
    """int64 [num_taken], in the order in which they are taken."""
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Name -> [num_taken], what it computed for each."""
    dropped: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Rows that its rule left out."""
    record: Mapping[str, Any] = field(default_factory=dict)


POOLINGS: Mapping[Pooling, str] = {
    "last": "last token", "mean": "mean", "weighted_mean": "position-weighted mean"
}  # fmt: skip


class ByVectors(GrownConfig):
    """Fields and work of one method."""

    draws: ClassVar[bool] = False
    """What it takes depends on the selection seed."""

    later_defaults: ClassVar[Mapping[str, Any]] = {"pooling": "last", "template": "training"}

    path: FileLocation | None = None
    """.npy file with a vector for each row of the pool, in its order: [num_rows, width]; null: the model's states."""
    pooling: Pooling = "last"
    """Of the model's last hidden states of a row: the last token's, their mean, or their mean weighted by position."""
    template: SelectTemplate = "training"
    """The form in which the model reads a row; training: that of `finetune.template`."""

    def reads(self, name: str) -> tuple[Need, ...]:
        """What must be computed before, under a name."""
        return () if self.path is not None else (NeedsFeatures(name, template=self.template, pooling=self.pooling),)

    @property
    def may_take_fewer(self) -> bool:
        return getattr(self, "fidelity", None) == "released_code"

    @abstractmethod
    def take(self, rows: Rows, count: int) -> Taken:
        """Takes `count` rows, or fewer where the method's own code does. Raises: UserError where it cannot."""

    def vectors(self) -> str:
        """Which vectors, for the report."""
        if self.path is not None:
            return f"vectors of {Path(self.path).name}"
        form = "" if self.template == "training" else f", template {self.template}"
        return f"{POOLINGS[self.pooling]} of the last hidden states{form}"

    @abstractmethod
    def words(self) -> str:
        """Of the report, such as `k-center`."""


class CosineFilter(ByVectors):
    threshold: float = Field(0.9, ge=-1, le=1)
    """A row is left out where its cosine with a row that was taken before it is higher."""
    fidelity: Literal["released_code", "corrected"] = "corrected"
    """Where fewer rows than asked for are left: released_code takes those; corrected refuses."""

    def take(self, rows: Rows, count: int) -> Taken:
        kept, dropped = cosine_filter(rows.vectors, self.threshold, count)
        if len(kept) < count and self.fidelity == "corrected":
            raise UserError(
                f"cosine_filter: with threshold {self.threshold:g}, {len(kept)} of {len(rows.positions)} rows are "
                f"left, and {count} are asked for; raise threshold, lower select.ratio, or set fidelity to "
                "released_code to take fewer"
            )
        return Taken(kept, dropped=dropped, record={"num_near_duplicates": len(dropped)})

    def words(self) -> str:
        return f"no cosine above {self.threshold:g} with a row taken before"


class KCenter(ByVectors):
    num_start: int = Field(1, ge=1)
    """Rows that are taken to begin with: the first ones."""

    def take(self, rows: Rows, count: int) -> Taken:
        order, distances = k_center(rows.vectors, self.num_start, count)
        return Taken(order, {"distance": distances}, record={"radius": float(distances[-1])})

    def words(self) -> str:
        return f"greedy k-center from {self.num_start} row{'s' * (self.num_start > 1)}"


class FacilityLocation(ByVectors):
    def take(self, rows: Rows, count: int) -> Taken:
        order, gains = facility_location(rows.vectors, count)
        return Taken(order, {"gain": gains}, record={"mean_similarity": float(gains.sum() / len(rows.positions))})

    def words(self) -> str:
        return "greedy facility location"


class KMeansQuota(ByVectors):
    draws: ClassVar[bool] = True

    num_clusters: int = Field(100, ge=1)
    """Clusters of k-means, each of which gives as many rows."""
    num_restarts: int = Field(5, ge=1)
    """Clusterings, of which the tightest is kept."""
    fidelity: Literal["released_code", "corrected"] = "corrected"
    """released_code: whole parts of scores, and no rows from elsewhere for a cluster that is small; corrected: exactly
    the ratio."""

    def take(self, rows: Rows, count: int) -> Taken:
        by_id = np.argsort(rows.numbers, kind="stable")  # k-means starts from the same rows in any order of the pool
        labels = np.empty(len(by_id), dtype=np.int64)
        labels[by_id] = kmeans_labels(rows.vectors[by_id], self.num_clusters, self.num_restarts, rows.seed)
        taken = self.of_clusters(labels, rows, count)
        return Taken(taken, {"cluster": labels[taken]}, record={"num_clusters_taken": len(np.unique(labels[taken]))})

    def of_clusters(self, labels: np.ndarray, rows: Rows, count: int) -> np.ndarray:
        """int64 [num_taken]; Args: labels: int64 [num_rows]."""
        if self.fidelity == "corrected":
            order = self.order_within(rows)
            return order[equal_quota(labels[order], count)]
        in_pool = np.argsort(rows.positions)
        weights = self.weights(rows)[in_pool]
        if np.abs(weights).max() > MOST_OF_EXP:
            raise UserError(
                f"kmeans_quota: the released code draws in proportion to exp(score), and the score {weights.max():.4g} "
                "is too large for that; set fidelity to corrected"
            )
        drawn = in_pool[released_quota(labels[in_pool], self.num_clusters, weights, count, rows.seed)]
        if not len(drawn):
            raise UserError(
                f"kmeans_quota: {count} rows of num_clusters {self.num_clusters} are less than one from each, and the "
                "released code takes none; lower num_clusters, or set fidelity to corrected"
            )
        return drawn

    def order_within(self, rows: Rows) -> np.ndarray:
        """int64 [num_rows], the order in which a cluster gives its rows."""
        return np.arange(len(rows.positions))

    def weights(self, rows: Rows) -> np.ndarray:
        """Of the released code's draw; a strategy of its own has no scores."""
        return np.zeros(len(rows.positions))

    def words(self) -> str:
        return f"as many rows from each of {self.num_clusters} clusters, fidelity {self.fidelity}"


class AfterScores(GrownConfig):
    """What a method has behind a score."""

    preselect: float | None = Field(None, ge=1)
    """The method chooses among the best rows by score, as many times the rows that are taken; null: among all."""

    def among(self, num_rows: int, count: int) -> int:
        return num_rows if self.preselect is None else min(num_rows, int(self.preselect * count))


class CosineFilterStep(CosineFilter, AfterScores):
    """DEITA's filter."""

    method: Literal["cosine_filter"]


class KCenterStep(KCenter, AfterScores):
    method: Literal["k_center"]


class FacilityLocationStep(FacilityLocation, AfterScores):
    """Superfiltering.D's second step."""

    method: Literal["facility_location"]


class KMeansQuotaStep(KMeansQuota, AfterScores):
    method: Literal["kmeans_quota"]
    within: Literal["top", "weighted"] = "top"
    """Rows of a cluster: top: those of the highest scores; weighted: drawn in proportion to exp(score)."""

    def order_within(self, rows: Rows) -> np.ndarray:
        return weighted_order(rows.scores, rows.numbers) if self.within == "weighted" else super().order_within(rows)

    def weights(self, rows: Rows) -> np.ndarray:
        return rows.scores

    def words(self) -> str:
        drawn = ", drawn by exp(score)" * (self.within == "weighted")
        return super().words() + drawn


Diversify = Annotated[
    CosineFilterStep | KCenterStep | FacilityLocationStep | KMeansQuotaStep, Field(discriminator="method")
]
