"""The smallest number that is enough, such as of seeds or items. Reads and writes nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable


def smallest(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """From `low` to `high`, where every larger number is enough too; None where `high` is not."""
    found = low + bisect_left(range(low, high + 1), True, key=enough)
    return found if found <= high else None
