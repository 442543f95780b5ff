"""What a strategy gives back, checked before anything of it is written: it may be anybody's code.

All functions raise UserError naming the strategy, what it gave and what it must give.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from selectit.data.arrow_rows import json_form
from selectit.errors import UserError
from selectit.selection.strategy import Scored, Strategy


def reasons(strategy: Strategy, unusable: Sequence[str | None], scored: Scored) -> tuple[list[str | None], set[str]]:
    """Why rows are not selected, whatever their place; and which of the reasons are a rule and no failure."""
    if not isinstance(scored, Scored):
        raise UserError(f"strategy {strategy.strategy}: scores gave a {type(scored).__name__}; it must give a Scored")
    if scored.details is not None and not callable(scored.details):
        raise UserError(
            f"strategy {strategy.strategy}: details is a {type(scored.details).__name__}; it must be a function from a "
            "row's position to what scores.jsonl holds of it"
        )
    for name, given in (("failures", scored.failures), ("left_out", scored.left_out)):
        if not isinstance(given, Mapping):
            raise UserError(
                f"strategy {strategy.strategy}: {name} is a {type(given).__name__}; it must be a mapping from a row's "
                "position to one word"
            )
        for at, reason in given.items():
            if isinstance(at, bool) or not isinstance(at, int | np.integer) or not 0 <= at < len(unusable):
                raise UserError(
                    f"strategy {strategy.strategy}: {name} names row {at!r:.40}; rows are 0 to {len(unusable) - 1}"
                )
            if not isinstance(reason, str) or len(reason.strip().splitlines()) != 1:
                raise UserError(
                    f"strategy {strategy.strategy}: {name} gives row {at} the reason {reason!r:.40}; it must be one "
                    "word, such as too_few_letters"
                )
    if not scored.left_out and not scored.failures:
        return list(unusable), set()
    found = [scored.left_out.get(at) or failure or scored.failures.get(at) for at, failure in enumerate(unusable)]
    return found, {*scored.left_out.values()}


def scores_of(strategy: Strategy, scored: Scored, failures: Sequence[str | None]) -> np.ndarray:
    """float64 [num_rows], NaN for a row that must not be taken."""
    given = scored.scores
    try:
        if isinstance(given, Mapping | Set):  # which would be read as its keys
            raise TypeError(f"found a {type(given).__name__}")
        if isinstance(given, np.ma.MaskedArray):
            given = np.ma.filled(given.astype(np.float64), np.nan)
        scores = np.asarray(given)
        if scores.dtype.kind not in "buif":  # None among numbers makes an array of objects; texts are no scores
            scores = np.array([np.nan if score is None else _number(score) for score in given])
        scores = scores.astype(np.float64)
    except Exception as error:  # of the library whose array it is, too
        raise UserError(f"strategy {strategy.strategy}: scores must be numbers, one for each row ({error})") from error
    if scores.shape != (len(failures),):
        raise UserError(
            f"strategy {strategy.strategy} gave scores of shape {scores.shape} for {len(failures)} rows; it must give "
            "one for each row of the pool, in its order"
        )
    usable = np.array([failure is None for failure in failures])
    if (lost := np.flatnonzero(usable & ~np.isfinite(scores))).size:
        raise UserError(
            f"strategy {strategy.strategy} gave row {lost[0]} the score {scores[lost[0]]} and no reason "
            f"({len(lost)} such row{'s' * (len(lost) > 1)}); a row without a score is named in `failures`"
        )
    return np.where(usable, scores, np.nan)


def _number(score: Any) -> float:
    if isinstance(score, str | bytes):
        raise TypeError(f"found {score!r:.40}")
    return float(score)


def chosen(strategy: Strategy, scored: Scored, ranked: Sequence[int], num_eligible: int) -> tuple[np.ndarray, int]:
    """int64 [num_rows], positions in the order in which they are taken; how many are. Args: ranked: by score."""
    if scored.taken is None:
        count = count_of(strategy, len(ranked), num_eligible)
        return order_of(strategy, ranked, num_eligible, count), count
    taken = np.asarray(scored.taken)
    if taken.ndim != 1 or taken.dtype.kind not in "iu" or len(np.unique(taken)) != len(taken) or not len(taken):
        raise UserError(
            f"strategy {strategy.strategy}: taken is {scored.taken!r:.60}; it must be the positions of the rows that "
            "are taken, each once, at least one"
        )
    if not np.isin(taken, ranked[:num_eligible]).all():
        raise UserError(f"strategy {strategy.strategy}: taken names a row that has no score")
    order = np.asarray(ranked, dtype=np.int64)
    return np.concatenate([taken.astype(np.int64), order[~np.isin(order, taken)]]), len(taken)


def count_of(strategy: Strategy, num_rows: int, num_eligible: int) -> int:
    """How many rows are taken: no more than may be, or rows without a score would be among them."""
    count = strategy.count(num_rows, num_eligible)
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 1 <= count <= num_eligible:
        raise UserError(
            f"strategy {strategy.strategy}: count gave {count!r:.40}; it must be a whole number from 1 to "
            f"{num_eligible}, the rows that have a score"
        )
    return int(count)


def order_of(strategy: Strategy, order: Sequence[int], num_eligible: int, count: int) -> np.ndarray:
    """int64 [num_rows], positions in the order in which they are taken. Args: order: as `arranged` takes it."""
    try:
        arranged = np.asarray(strategy.arranged(order, num_eligible, count))
    except ValueError:  # a list of lists of several lengths
        arranged = np.array(None)
    if arranged.shape != (len(order),) or not np.array_equal(np.sort(arranged), np.arange(len(order))):
        raise UserError(
            f"strategy {strategy.strategy}: arranged must give each of the {len(order)} positions that it was given "
            "once, in another order"
        )
    if not set(arranged[:count].tolist()) <= set(order[:num_eligible]):
        raise UserError(f"strategy {strategy.strategy}: arranged put a row without a score among the {count} first")
    return arranged.astype(np.int64)


def plain(strategy: Strategy, own: Iterable[str], added: Any, where: str) -> dict[str, Any]:
    """What a strategy adds to a record, as JSON has it: numpy's numbers are numbers, NaN is refused.

    Args: own: keys that the record has already; where: the file of the record.
    """
    if not isinstance(added, Mapping) or not all(isinstance(key, str) for key in added):
        raise UserError(
            f"strategy {strategy.strategy}: what it adds to {where} is {added!r:.40}; it must be a mapping whose keys "
            "are texts"
        )
    if both := sorted(set(own) & set(added)):
        raise UserError(
            f"strategy {strategy.strategy}: {where} has the key{'s' * (len(both) > 1)} {', '.join(both)} already; "
            "give them other names"
        )
    return {key: _as_json(strategy, value, f"{key} of {where}") for key, value in added.items()}


def _as_json(strategy: Strategy, value: Any, where: str) -> Any:
    if value is None or type(value) in (str, int, bool):
        return value
    try:
        return json.loads(json.dumps(value, default=_form, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"strategy {strategy.strategy}: {where} is {value!r:.60}, which JSON does not have ({error}); give "
            "numbers, texts, lists of them, and None where there is no number"
        ) from error


def _form(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else json_form(value)
