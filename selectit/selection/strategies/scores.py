"""Rows by scores that another tool made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selectit.config import ArmConfig, FileLocation
from selectit.data.jsonl import numbered_jsonl
from selectit.data.row_ids import own_id
from selectit.errors import UserError
from selectit.selection.strategy import Candidates, RatioStrategy, Scored, json_number

NO_SCORE = "no_score_given"
MOST_SHOWN = 5
FORM = '{"row_id": ..., "score": 0.5}, or {"row": 0, "score": 0.5} with the place in the pool'


class ScoresSelect(RatioStrategy):
    """By the scores of a file, which any other tool may have made."""

    strategy: Literal["scores"]
    path: FileLocation
    """JSONL file with a line for each row: `row_id`, or `row` (from 0), and `score`; null: it could not be scored."""
    order: Literal["high", "low"] = "high"
    """Which scores are the best."""

    def score_name(self) -> str:
        return f"{'minus the ' if self.order == 'low' else ''}score of {Path(self.path).name}"

    def preflight(self, pool: Candidates) -> None:
        given, _ = read_scores(Path(self.path), pool)
        self.check_size(len(pool), int(np.isfinite(given[pool.usable]).sum()))

    def scores(self, pool: Candidates) -> Scored:
        given, failures = read_scores(Path(self.path), pool)
        return Scored(
            -given if self.order == "low" else given,
            failures,
            details=lambda at: {"given_score": json_number(given[at])},
        )

    def sentence(self, arm: ArmConfig) -> str:
        which = {"high": "the highest", "low": "the lowest"}[self.order]
        return f"{which} scores of {Path(self.path).name}"


def read_scores(path: Path, pool: Candidates) -> tuple[np.ndarray, dict[int, str]]:
    """The score of each row of a pool, and why rows have none (`failure` of a line whose score is null).

    Rows of the pool that can never be selected need no line.

    Returns: float64 [num_rows].
    Raises:  UserError naming file and line of what is no score, of another pool, there twice or missing.
    """
    of_pool, ids = f"pool {pool.stage.pool.path}", pool.row_ids.to_pylist()
    places = {row_id: at for at, row_id in enumerate(ids)}
    lines: dict[int, int] = {}
    scores, failures = np.full(len(ids), np.nan), dict[int, str]()
    for number, line in numbered_jsonl(path):
        where = f"{path}, line {number}"
        at = _place(line, ids, places, where, of_pool)
        if at in lines:
            raise UserError(f"{where}: row {at} ({ids[at]}) has its score in line {lines[at]} already; give it once")
        lines[at] = number
        if line["score"] is None:
            failures[at] = _reason(line.get("failure"), where)
        else:
            scores[at] = _score(line["score"], where)
    missing = [at for at, failure in enumerate(pool.failures) if failure is None and at not in lines]
    if missing:
        shown = ", ".join(f"{at} ({ids[at]})" for at in missing[:MOST_SHOWN])
        more = ", ..." if len(missing) > MOST_SHOWN else ""
        raise UserError(
            f"{path}: {len(missing)} of {len(ids)} rows of {of_pool} have no line: {shown}{more}. Write one for each, "
            "with score null where a row could not be scored"
        )
    if not np.isfinite(scores[pool.usable]).any():
        raise UserError(f"{path}: no row that can be selected has a score")
    return scores, failures


def _place(line: Any, ids: list[str], places: Mapping[str, int], where: str, of_pool: str) -> int:
    """The position of a line's row in the pool."""
    if not isinstance(line, dict) or "score" not in line or not {"row", "row_id"} & set(line):
        raise UserError(f"{where}: found {json.dumps(line)[:80]}; a line is {FORM}")
    cure = "the scores must be those of this pool, in any order"
    at = line.get("row")
    if at is not None and (isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < len(ids)):
        raise UserError(f"{where}: row {at!r:.40} is not in {of_pool}, whose rows are 0 to {len(ids) - 1}; {cure}")
    if line.get("row_id") is None:
        if at is None:
            raise UserError(f"{where}: found {json.dumps(line)[:80]}; a line is {FORM}")
        return int(at)
    named = own_id(line["row_id"])
    if named not in places:
        raise UserError(f"{where}: row_id '{named:.60}' is not in {of_pool} (its first is '{ids[0]}'); {cure}")
    if at is not None and at != places[named]:
        raise UserError(f"{where}: row_id '{named:.60}' is row {places[named]} of {of_pool}, not row {at}; {cure}")
    return places[named]


def _score(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: score is {json.dumps(value)[:60]}; it must be a number, or null for none")
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise UserError(f"{where}: score is {score}; it must be finite, or null where a row could not be scored")
    return score


def _reason(value: Any, where: str) -> str:
    """Why a row has no score, in one line."""
    if value is None or value == "":
        return NO_SCORE
    if not isinstance(value, str) or len(value.strip().splitlines()) != 1:
        raise UserError(f"{where}: failure is {json.dumps(value)[:60]}; it must be one word, or null")
    return value
