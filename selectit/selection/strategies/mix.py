"""Rows by several scores as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from selectit.config import AnySelect, ArmConfig, GrownConfig, Need, NeedsArm, NeedsRatings
from selectit.errors import UserError
from selectit.selection.checks import reasons, scores_of
from selectit.selection.strategy import Candidates, RatioStrategy, Scored, Strategy, json_number, models_read

OWN = ("weight", "normalise", "select")
Normalise = Literal["rank", "zscore", "minmax"]


def _nested(written: Any) -> Any:
    """From `{strategy: ifd, form: ..., weight: 2}` to the fields of the class."""
    if not isinstance(written, Mapping) or "select" in written:
        return written
    own = {key: value for key, value in written.items() if key in OWN}
    return {**own, "select": {key: value for key, value in written.items() if key not in OWN}}


class MixPart(GrownConfig):
    """One score of several; the fields of its strategy stand next to its own."""

    weight: float = 1.0
    """Its share; below 0 a low score is good."""
    normalise: Normalise = "rank"
    """rank: ranks from 0 to 1, of equal scores their mean; zscore: (x - mean) / standard deviation; minmax: 0 to 1."""
    select: AnySelect
    """Its strategy, with its fields."""

    @property
    def strategy(self) -> Strategy:
        assert isinstance(self.select, Strategy)
        return self.select

    @model_validator(mode="after")
    def _is_a_score(self) -> Self:
        strategy = self.strategy
        if self.weight == 0:
            raise ValueError("weight is 0, so this part changes nothing; remove it")
        if strategy.score_name() is None:
            raise ValueError(f"strategy {strategy.strategy} has no score of a row, so it cannot be mixed")
        if any(isinstance(need, NeedsArm) for need in strategy.needs()) or models_read(strategy):
            raise ValueError(
                f"strategy {strategy.strategy} reads what another arm selected or trained; it cannot be mixed"
            )
        of_the_whole = {name: info for name, info in RatioStrategy.model_fields.items() if name != "strategy"}
        if given := [
            name for name, info in of_the_whole.items() if getattr(strategy, name, info.default) != info.default
        ]:
            raise ValueError(f"{', '.join(given)} of a part changes nothing; write it next to mix")
        if [*strategy.arranged(range(100), 100, 1)] != [*range(100)]:
            raise ValueError(
                f"strategy {strategy.strategy} with these fields does not take the highest scores; it cannot be mixed"
            )
        return self


class MixSelect(RatioStrategy):
    """By several scores as one: the weighted mean of what other strategies score."""

    strategy: Literal["mix"]
    mix: tuple[Annotated[MixPart, BeforeValidator(_nested)], ...] = Field(min_length=2)
    """A list of select sections, each with a `weight` and with `normalise`, how its score is brought to one scale."""

    @model_validator(mode="after")
    def _reads_one_set_of_ratings(self) -> Self:
        if len({need for part in self.mix for need in part.strategy.needs() if isinstance(need, NeedsRatings)}) > 1:
            raise ValueError(
                "parts of mix read different ratings; give them the same level, num_rating_prompts and fidelity"
            )
        return self

    @property
    def has_seed(self) -> bool:
        return super().has_seed or any(part.strategy.has_seed for part in self.mix)

    def needs(self) -> tuple[Need, ...]:
        """What the parts read, each under a name of its own, and ratings once for all."""
        if not all(isinstance(part, MixPart) for part in self.mix):
            raise UserError("what mix reads is what its parts read")
        found = [
            _named_apart(need, _prefix(number))
            for number, part in enumerate(self.mix)
            for need in part.strategy.needs()
        ]
        return tuple(dict.fromkeys(found))

    def score_name(self) -> str:
        return "weighted mean of several scores"

    def check_arm(self, arm: ArmConfig) -> None:
        for part in self.mix:
            part.strategy.check_arm(arm)

    def preflight(self, pool: Candidates) -> None:
        for number, part in enumerate(self.mix):
            part.strategy.preflight(_of_part(pool, number, part.strategy))

    def scores(self, pool: Candidates) -> Scored:
        """A row that one of the parts cannot score has no score; the others are brought to one scale without it."""
        given, failures, left_out = [], dict[int, str](), dict[int, str]()
        for number, part in enumerate(self.mix):
            scored = part.strategy.scores(_of_part(pool, number, part.strategy))
            why, rules = reasons(part.strategy, pool.failures, scored)
            given.append(scores_of(part.strategy, scored, why))
            for at, reason in enumerate(why):
                if reason is not None and pool.failures[at] is None:
                    (left_out if reason in rules else failures).setdefault(at, reason)
        usable = np.isfinite(given).all(axis=0)
        if not usable.any():
            raise UserError("mix: no row of the pool has all of the scores; selectit strategies describes each part")
        scaled = np.full((len(self.mix), len(pool)), np.nan)
        for number, part in enumerate(self.mix):
            scaled[number, usable] = normalised(given[number][usable], part.normalise)
        weights = np.array([part.weight for part in self.mix])
        return Scored(
            weights @ scaled / np.abs(weights).sum(),
            failures,
            left_out,
            details=lambda at: {
                "parts": [
                    {
                        "strategy": part.strategy.strategy,
                        "score": json_number(given[number][at]),
                        "normalised": json_number(scaled[number, at]),
                    }
                    for number, part in enumerate(self.mix)
                ]
            },
        )

    def sentence(self, arm: ArmConfig) -> str:
        return " + ".join(
            f"{part.weight:g} × {part.strategy.strategy} ({part.strategy.sentence(arm)}; {part.normalise})"
            for part in self.mix
        )


def normalised(scores: np.ndarray, how: Normalise) -> np.ndarray:
    """Scores on one scale. Where all are equal they say nothing: 0, by rank 0.5.

    Args: scores: float64 [num_rows], all finite.
    """
    if how == "rank":
        _, places, sizes = np.unique(scores, return_inverse=True, return_counts=True)
        below = np.cumsum(sizes) - sizes
        ranks: np.ndarray = (below + (sizes - 1) / 2)[places]  # from 0, the mean of those that are equal
        return ranks / (len(scores) - 1) if len(scores) > 1 else np.full(1, 0.5)
    origin, scale = (scores.mean(), scores.std()) if how == "zscore" else (scores.min(), scores.max() - scores.min())
    if scores.max() == scores.min():
        return np.zeros(len(scores))
    return (scores - origin) / scale


def _prefix(number: int) -> str:
    return f"part{number}_"


def _named_apart(need: Need, prefix: str) -> Need:
    """A need with a name has it behind the part's."""
    if (name := getattr(need, "name", None)) is None:
        return need
    renamed: Need = replace(need, name=f"{prefix}{name}")  # type: ignore[call-arg, arg-type]
    return renamed


def _of_part(pool: Candidates, number: int, strategy: Strategy) -> Candidates:
    """The pool with what a part asked for, by the names that it gave."""
    prefix = _prefix(number)
    inputs = {name.removeprefix(prefix): path for name, path in pool.inputs.items() if name.startswith(prefix)}
    if any(isinstance(need, NeedsRatings) for need in strategy.needs()):
        inputs |= {name: path for name, path in pool.inputs.items() if name.startswith("score")}
    return replace(pool, inputs=inputs, asked=strategy.needs())
