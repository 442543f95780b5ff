"""How numbers are written in every form of the report.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ABSENT = "–"


def percent(fraction: float) -> float:
    return 100 * fraction


def value(percentage: float, error: float | None = None, num_seeds: int = 0) -> str:
    """Such as `41.2 ± 0.8 (3)`: the value, its standard error, and the number of training seeds where there are any."""
    seeds = f" ({num_seeds})" if num_seeds else ""
    return f"{percentage:.1f}{'' if error is None else f' ± {small(error)}'}{seeds}"


def small(error: float) -> str:
    """An error to one decimal; one that would round to 0.0 reads as exact and is written as below 0.1."""
    return "<0.1" if error < 0.05 else f"{error:.1f}"


def points(difference: float) -> str:
    """A difference of two percentages, with its sign; nothing is written as minus zero."""
    rounded = round(difference, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def count(number: float) -> str:
    return f"{round(number):,}"


def spread(numbers: Iterable[float | None], write=count) -> str:
    """One number where all are equal, else lowest to highest."""
    known = [n for n in numbers if n is not None]
    if not known:
        return ABSENT
    low, high = write(min(known)), write(max(known))
    return low if low == high else f"{low} to {high}"


def one_line(text: str) -> str:
    return " ".join(text.split())


def names(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def p_value(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def size(fraction: float | None) -> str:
    """In points; two values between 0 and 100 do not differ by more than 100."""
    return ABSENT if fraction is None else "over 100" if fraction > 1 else f"{percent(fraction):.1f}"
