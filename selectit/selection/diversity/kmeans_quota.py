"""As many rows from each cluster of the vectors."""

from __future__ import annotations

import numpy as np

from selectit.selection.quotas import apportioned

MOST_ITERATIONS = 300


def kmeans_labels(vectors: np.ndarray, num_clusters: int, num_restarts: int, seed: int) -> np.ndarray:
    """The cluster of each row: int64 [num_rows]. Args: num_restarts: of which the tightest clustering is kept."""
    from sklearn.cluster import KMeans

    found = KMeans(min(num_clusters, len(vectors)), n_init=num_restarts, max_iter=MOST_ITERATIONS, random_state=seed)
    labels: np.ndarray = found.fit_predict(vectors).astype(np.int64)
    return labels


def equal_quota(labels: np.ndarray, count: int) -> np.ndarray:
    """The first rows of each cluster, as many of each; what a small cluster cannot give comes from the others.

    Args:    labels: int64 [num_rows], of rows in the order in which they are taken.
    Returns: int64 [count], positions in that order.
    """
    clusters, sizes = np.unique(labels, return_counts=True)
    quotas = apportioned(count, [1] * len(clusters), sizes.tolist())
    chosen = [np.flatnonzero(labels == cluster)[:quota] for cluster, quota in zip(clusters, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))


def weighted_order(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """An order of which every beginning is a draw without replacement, with probabilities in proportion to exp(score).

    Args:    scores: float64 [num_rows]; numbers: float64 [num_rows], uniform in [0, 1), such as hashes of row ids.
    Returns: int64 [num_rows].
    Source:  the Gumbel-max trick; it draws as numpy's `choice(replace=False, p=...)` does, row by row.
    """
    with np.errstate(divide="ignore"):
        keys = scores - np.log(-np.log(numbers))
    order: np.ndarray = np.argsort(-keys, kind="stable")
    return order


def released_quota(labels: np.ndarray, num_clusters: int, scores: np.ndarray, count: int, seed: int) -> np.ndarray:
    """What iterative-data-selection draws from labels and scores, as its code has it.

    Args:    labels: int64 [num_rows] in the pool's order; scores: float64 [num_rows].
    Returns: int64 positions, cluster by cluster; fewer than `count` where clusters are small, none where there are more
        clusters than rows asked for.
    Source:  for-ai/iterative-data-selection at 6ac5772: scores are cut to whole numbers, each cluster gives
        int(count / num_clusters) rows and a smaller one all of its own, by one generator for all clusters.
    """
    generator, whole = np.random.RandomState(seed), scores.astype(np.int64)
    drawn = [np.empty(0, dtype=np.int64)]
    for cluster in range(num_clusters):
        members = np.flatnonzero(labels == cluster)
        weights = np.exp(whole[members])
        size = min(count // num_clusters, len(members))
        if len(members):
            drawn.append(generator.choice(members, size, replace=False, p=weights / weights.sum()))
    return np.concatenate(drawn)
