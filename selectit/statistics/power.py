"""How many training seeds and items a difference needs, before anything is spent.

Assumes what a table usually has: two methods, trained with the same number of seeds and asked the same items. The test
that is planned for is that of `selectit.statistics.method`.
"""

from __future__ import annotations

from collections.abc import Callable

from selectit.statistics import ALPHA
from selectit.statistics.equivalence import Error
from selectit.statistics.method import Spread, detectable

MOST_SEEDS = 100
MOST_ITEMS = 1_000_000


def planned_spread(num_seeds: int, num_items: int, seed_spread: float, disagreement: float) -> Spread:
    """What a difference of two methods will have to stand out from; fractions.

    Args:
        num_seeds:    training seeds of each method, at least 2.
        seed_spread:  standard deviation over training seeds of one method's value, the noise of its items included.
        disagreement: mean squared difference of two models' scores of an item; of 0/1 scores the share of items that
                      only one of the two solves.
    """
    over_items = disagreement / num_items
    # runs are noisy in their items too, and that part is in the seeds' spread: it is counted twice, on the safe side
    return Spread((Error(2 * seed_spread**2 / num_seeds, num_seeds - 1), Error(over_items, num_items - 1)))


def seeds_needed(
    difference: float, num_items: int, seed_spread: float, disagreement: float, alpha: float = ALPHA
) -> int | None:
    """Training seeds of each method with which the difference is found four times in five; None: not with 100."""
    return _smallest(
        lambda n: detectable(planned_spread(n, num_items, seed_spread, disagreement), alpha) <= difference,
        2,
        MOST_SEEDS,
    )


def items_needed(
    difference: float, num_seeds: int, seed_spread: float, disagreement: float, alpha: float = ALPHA
) -> int | None:
    """Items with which the difference is found four times in five; None: not with a million, the seeds are too few.

    The seeds' spread is taken as it is, although a part of it falls with the number of items.
    """
    if num_seeds < 2:
        return None
    return _smallest(
        lambda n: detectable(planned_spread(num_seeds, n, seed_spread, disagreement), alpha) <= difference,
        2,
        MOST_ITEMS,
    )


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number that is enough; what is enough stays so with more."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
