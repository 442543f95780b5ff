"""Rows by their SelectIT score, computed from ledgers of ratings."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from pydantic import Field

from selectit.config import ArmConfig, Need, NeedsRatings
from selectit.errors import UserError
from selectit.inference.batch import NO_RESPONSE_TOKEN
from selectit.scoring.formula import Fidelity, model_scores, sentence_scores, token_scores
from selectit.scoring.ledger import NOT_SCORED, TOO_LONG, read_ratings
from selectit.scoring.notes import failures_text
from selectit.scoring.rated_rows import ids_of_answers, num_answers
from selectit.selection.strategy import Candidates, RatioStrategy, Scored
from selectit.store.names import LEDGER, SCORE_RECORD


class SelectITSelect(RatioStrategy):
    """By SelectIT: how good a model rates a row, and how sure and unanimous its ratings are."""

    strategy: Literal["selectit"]
    level: Literal["token", "sentence", "model"] = "sentence"
    """Of one rating prompt, of several, or of several raters."""
    alpha: float = Field(0.2, ge=0)
    """Weight of the disagreement between rating prompts (sentence and model level)."""
    num_rating_prompts: int = Field(5, ge=1)
    """The first K rating prompts of the file (sentence and model level)."""
    fidelity: Literal["paper", "released_code", "corrected"] = "corrected"
    """Which reading of the method where the paper and its code differ; docs/methods.md has the table."""

    def needs(self) -> tuple[Need, ...]:
        prompts = None if self.level == "token" else self.num_rating_prompts
        return (NeedsRatings(prompts, self.fidelity, by_all_raters=self.level == "model"),)

    def score_name(self) -> str:
        return "SelectIT score"

    def unread_fields(self) -> tuple[str, ...]:
        return ("alpha", "num_rating_prompts") if self.level == "token" else ()

    def sentence(self, arm: ArmConfig) -> str:
        several = f"alpha {self.alpha:g}, K = {self.num_rating_prompts} rating prompts"
        by_level = {
            "token": "token level, 1 rating prompt drawn with the selection seed",
            "sentence": f"sentence level, {several}",
            "model": f"model level, {several}, {len(arm.raters)} raters",
        }
        return f"{by_level[self.level]}, fidelity {self.fidelity}"

    def preflight(self, pool: Candidates) -> None:
        token_scores(np.ones((1, 5)), self.fidelity, self._k(pool))
        if self.level == "model":
            theta = pool.stage.theta
            model_scores(np.ones((1, len(theta))), [size or 1.0 for size in theta], self.fidelity)

    def scores(self, pool: Candidates) -> Scored:
        models = [self._read(pool, number, [self.fidelity]) for number in range(len(pool.inputs))]
        sentence = np.stack([self._of_model(model, self.fidelity) for model in models], axis=1)
        failures: dict[int, str] = {}
        for model in reversed(models):  # of several, the first rater's
            failures |= {at: failure for at, failure in enumerate(model.failures) if failure is not None}

        def details(at: int) -> dict[str, Any]:
            return {
                "models": [
                    {
                        "model": number,
                        "score": None if model.failures[at] else float(sentence[at, number]),
                        "token_scores": [
                            None if np.isnan(score) else float(score) for score in model.token[self.fidelity][at]
                        ],
                    }
                    for number, model in enumerate(models)
                ]
            }

        if not np.isfinite(sentence).all(axis=1).any():
            found = {**failures, **{at: failure for at, failure in enumerate(pool.failures) if failure is not None}}
            why = failures_text(Counter(found[at] for at in sorted(found)))
            cure = "; raise score.max_length" if {NO_RESPONSE_TOKEN, TOO_LONG} & {*found.values()} else ""
            raise UserError(
                f"pool {pool.stage.pool.path}: no row could be scored: {why}{cure}; see {models[0].folder / LEDGER}"
            )
        return Scored(self._combined(sentence, models, self.fidelity), failures, details=details)

    def readings(self, pool: Candidates) -> dict[str, np.ndarray | None]:
        models = [self._read(pool, number, get_args(Fidelity)) for number in range(len(pool.inputs))]
        found: dict[str, np.ndarray | None] = {}
        for fidelity in get_args(Fidelity):
            if any(fidelity not in model.token for model in models):
                found[fidelity] = None
                continue
            sentence = np.stack([self._of_model(model, fidelity) for model in models], axis=1)
            try:
                found[fidelity] = self._combined(sentence, models, fidelity)
            except UserError:
                found[fidelity] = None
        return found

    def _combined(self, sentence: np.ndarray, models: Sequence[RatedBy], fidelity: Fidelity) -> np.ndarray:
        """Args: sentence: float64 [num_rows, num_models]."""
        if self.level != "model":
            first: np.ndarray = sentence[:, 0]
            return first
        return model_scores(sentence, [model.theta for model in models], fidelity)

    def _of_model(self, model: RatedBy, fidelity: Fidelity) -> np.ndarray:
        token = model.token[fidelity]
        return token[:, 0] if self.level == "token" else sentence_scores(token, self.alpha)

    def _k(self, pool: Candidates) -> int:
        """The released code's K: at token level its default of 5, else the number of rating prompts."""
        return 5 if self.level == "token" else len(pool.stage.prompts)

    def _read(self, pool: Candidates, number: int, fidelities: Sequence[Fidelity]) -> RatedBy:
        """The token scores of one rater; one prompt's records are in memory at a time."""
        folder, stage = pool.inputs[f"score{number}"], pool.stage
        scored = json.loads((folder / SCORE_RECORD).read_text(encoding="utf-8"))
        counts = num_answers(stage.pool.as_rated(), scored["turns"])
        ids = pa.array(itertools.chain(*map(ids_of_answers, pool.row_ids.to_pylist(), counts.tolist())), pa.string())
        by_answer = {fidelity: np.empty((len(ids), len(stage.prompts))) for fidelity in fidelities}
        failures: list[str | None] = [None] * len(ids)
        for column, prompt in enumerate(stage.prompts):
            ratings = read_ratings(folder / LEDGER, ids, [scored["prompts"].index(prompt)])
            for fidelity in list(by_answer):
                try:
                    scores = token_scores(ratings.probabilities[:, 0], fidelity, self._k(pool))
                except UserError:  # K for which that code has no formula; docs/methods.md
                    if fidelity == self.fidelity:
                        raise
                    del by_answer[fidelity]
                else:
                    by_answer[fidelity][:, column] = scores
            for at, failure in enumerate(ratings.failures):
                if failure and (failure != NOT_SCORED or not failures[at]):
                    failures[at] = failure
        of_rows = {fidelity: mean_of_answers(token, failures, counts) for fidelity, token in by_answer.items()}
        theta = stage.theta[number] or scored["num_parameters"] / 1e9
        return RatedBy(folder, theta, {name: token for name, (token, _) in of_rows.items()}, of_rows[self.fidelity][1])


@dataclass(frozen=True)
class RatedBy:
    """What one rater says of the rows of a pool."""

    folder: Path
    theta: float
    """Its parameters in billions."""
    token: Mapping[Fidelity, np.ndarray]
    """float64 [num_rows, num_prompts] each, of the readings that have a result."""
    failures: Sequence[str | None]


def mean_of_answers(
    token: np.ndarray, failed: Sequence[str | None], counts: np.ndarray
) -> tuple[np.ndarray, list[str | None]]:
    """The same for rows of several answers: a row that lacks the score of one of them has none.

    Args:
        token: float64 [num_answers, num_prompts]; failed: why answers have none.
        counts: int64 [num_rows], answers of each row, whose scores are concatenated.
    """
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(token, starts, axis=0) / counts[:, None]
    why = [
        next((f for f in failed[start : start + count] if f), None)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
    return means, why
