"""How many training seeds and items a difference needs, before anything is spent.

Assumes what a table usually has: two methods, trained with the same number of seeds and asked the same items. The test
that is planned for is that of `selectit.statistics.method`.
"""

from __future__ import annotations

from dataclasses import dataclass

from selectit.statistics import ALPHA
from selectit.statistics.equivalence import Error
from selectit.statistics.method import Spread, detectable
from selectit.statistics.search import smallest

MOST_SEEDS = 100
MOST_ITEMS = 1_000_000


@dataclass(frozen=True)
class Planned:
    """What finished runs show, or whoever plans states, of two methods on one benchmark; fractions."""

    num_items: int
    seed_spread: float
    """Standard deviation over training seeds of one method's value on these items, their noise included."""
    disagreement: float
    """Mean squared difference of the scores of an item by one model of each method; of 0/1 scores the share of items
    that only one of the two solves.
    """
    seed_disagreement: float
    """The same of two training seeds of one method: the part of `disagreement` that more seeds average away."""
    num_draws: int = 1
    """Selection seeds, each combined with every training seed; their draws are no better known than their number."""

    def spread(self, num_seeds: int, num_items: int | None = None) -> Spread:
        """What a difference has to stand out from.

        Args: num_seeds: training seeds of each method, at least 2; num_items: if it had another number of items.
        """
        items = num_items or self.num_items
        noise = self.seed_disagreement / 2  # of a single run's answer to an item
        of_seeds = max(0.0, self.seed_spread**2 - noise / self.num_items) + noise / items
        of_items = max(0.0, self.disagreement - self.seed_disagreement) / items
        freedom = min(num_seeds, self.num_draws) - 1 if self.num_draws > 1 else num_seeds - 1
        return Spread((Error(2 * of_seeds / num_seeds, freedom), Error(of_items, items - 1)))


def seeds_needed(difference: float, planned: Planned, alpha: float = ALPHA) -> int | None:
    """Training seeds of each method with which the difference is found four times in five; None: not with 100."""
    return smallest(lambda n: detectable(planned.spread(n), alpha) <= difference, 2, MOST_SEEDS)


def items_needed(difference: float, num_seeds: int, planned: Planned, alpha: float = ALPHA) -> int | None:
    """Items with which the difference is found four times in five; None: not with a million, the seeds are too few."""
    if num_seeds < 2:
        return None
    return smallest(lambda n: detectable(planned.spread(num_seeds, n), alpha) <= difference, 2, MOST_ITEMS)
