"""How many rows each of several groups gives."""

from __future__ import annotations

from collections.abc import Sequence


def apportioned(count: int, weights: Sequence[int], capacities: Sequence[int]) -> list[int]:
    """Shares of a count by weight, none above its capacity: what a group cannot give is shared among the others.

    By the largest remainder (Hamilton), in whole numbers, so no rounding moves a row; of equal remainders the earlier
    group's is first. Args: weights: 0 or more; a group of weight 0 gives nothing unless the others cannot give all.
    Raises: ValueError where all groups together have fewer rows.
    """
    if count > sum(capacities):
        raise ValueError(f"{count} rows are asked for, and the groups have {sum(capacities)}")
    given = [0] * len(weights)
    open_, left = [at for at, capacity in enumerate(capacities) if capacity], count
    while open_ and left:
        shares = [weights[at] for at in open_]
        total = sum(shares)
        if total == 0:  # only groups of weight 0 are left
            shares, total = [1] * len(open_), len(open_)
        full = [at for at, share in zip(open_, shares, strict=True) if left * share >= capacities[at] * total]
        if full:
            for at in full:
                given[at] = capacities[at]
            open_ = [at for at in open_ if at not in full]
            left = count - sum(given)
            continue
        parts = [divmod(left * share, total) for share in shares]
        for at, (whole, _) in zip(open_, parts, strict=True):
            given[at] = whole
        largest = sorted(range(len(open_)), key=lambda n: -parts[n][1])
        for n in largest[: count - sum(given)]:
            given[open_[n]] += 1
        break
    return given
