"""Paired tests of two models on the same items, and their correction for the number of comparisons.

Every test is two-sided. A draw depends on its seed only, so that a report is the same each time it is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

MOST_ENUMERATED = 13
"""Up to 2^13 sign patterns are enumerated; beyond, patterns are drawn."""
LEAST_DRAWS = 10_000
DRAWS_PER_COMPARISON = 40
"""The smallest p-value of N draws is 1/(N+1), which must stay below ALPHA after Holm multiplies it."""
CHUNK_BYTES = 64_000_000
TOLERANCE = 1e-9
"""Relative; sums that are equal on paper differ in the last digits, and count as equal."""


def mcnemar(scores: np.ndarray, base: np.ndarray) -> float:
    """Exact McNemar test of 0/1 scores.

    Args:   scores, base: float64 [num_items], each 0 or 1, item by item.
    Source: McNemar (1947); the exact form is a binomial test on the items that only one of the two solves.
    """
    only_one, only_base = int((scores > base).sum()), int((base > scores).sum())
    if only_one + only_base == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_base, 0.5).pvalue)


def num_draws(num_comparisons: int) -> int:
    return max(LEAST_DRAWS, DRAWS_PER_COMPARISON * num_comparisons)


@dataclass(frozen=True)
class SignFlips:
    """p-values of several comparisons on the same units."""

    p: np.ndarray  # float64 [num_comparisons]
    exact: np.ndarray  # bool [num_comparisons]; False: from drawn sign patterns
    draws: np.ndarray
    """float64 [num_draws, num_comparisons], the differences under drawn signs; an average adds those of benchmarks."""


def sign_flips(parts: np.ndarray, draws: int, rng: np.random.Generator) -> SignFlips:
    """Permutation test: under the null, the two models could have swapped places on any unit.

    Args:
        parts: float64 [num_units, num_comparisons], what each unit adds to the difference of a comparison.
        draws: sign patterns that are drawn where there are too many to enumerate; shared by all comparisons.
    Source: approximate randomisation (Noreen 1989); the drawn p-value counts the observed pattern as a draw.
    """
    drawn = np.concatenate([2 * (bits @ parts) - parts.sum(axis=0) for bits in _bits(len(parts), draws, rng)])
    p = drawn_p(parts.sum(axis=0), drawn, scale=np.abs(parts).sum(axis=0))
    exact = np.zeros(parts.shape[1], dtype=bool)
    for column, values in enumerate(parts.T):
        moving = values[values != 0]
        if len(moving) <= MOST_ENUMERATED:
            p[column], exact[column] = _enumerated(moving), True
    return SignFlips(p, exact, drawn)


def drawn_p(observed: np.ndarray, drawn: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Share of draws at least as far from 0 as what was observed, the observed one among them.

    Args: observed, scale: float64 [num_comparisons]; drawn: float64 [num_draws, num_comparisons].
    """
    reached = np.abs(drawn) >= np.abs(observed) - TOLERANCE * scale
    return (1 + reached.sum(axis=0)) / (1 + len(drawn))


def _bits(num_units: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """float64 [some, num_units] of 0 and 1, `draws` rows in all."""
    size = max(1, CHUNK_BYTES // (8 * max(1, num_units)))
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        packed = rng.integers(0, 256, (rows, -(-num_units // 8)), dtype=np.uint8)
        yield np.unpackbits(packed, axis=1, count=num_units).astype(np.float64)


def _enumerated(parts: np.ndarray) -> float:
    if not len(parts):
        return 1.0
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(parts))))
    reached = np.abs(signs @ parts) >= abs(parts.sum()) - TOLERANCE * np.abs(parts).sum()
    return float(reached.mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: below ALPHA keeps the chance of any false word below ALPHA.

    Source: Holm (1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return adjusted.tolist()
