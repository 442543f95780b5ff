"""A method by vectors as a strategy of its own: behind no score, in a drawn order of the rows."""

from __future__ import annotations

import numpy as np

from selectit.config import ArmConfig, Need
from selectit.errors import UserError
from selectit.selection.diversity.methods import ALONE, NEAR_DUPLICATE, ByVectors
from selectit.selection.picked import picked
from selectit.selection.ranking import num_selected, random_scores, ranking
from selectit.selection.strategy import Candidates, Scored, ShareStrategy
from selectit.selection.vectors import check, rows_with_vectors, without_vector


class ByVectorsAlone(ByVectors, ShareStrategy):
    """Rows are met in an order that is drawn from their ids, so that none comes first for its place in the file."""

    def score_name(self) -> None:
        return None

    def needs(self) -> tuple[Need, ...]:
        return self.reads(ALONE)

    def count(self, num_rows: int, num_eligible: int) -> int:
        if self.may_take_fewer and num_eligible:
            return min(num_selected(self.ratio, num_rows, num_rows), num_eligible)
        return super().count(num_rows, num_eligible)

    def preflight(self, pool: Candidates) -> None:
        check(self, len(pool))

    def scores(self, pool: Candidates) -> Scored:
        lost = without_vector(self, pool, ALONE)
        usable = pool.usable
        usable[list(lost)] = False
        if not usable.any():
            raise UserError(f"{self.path or 'the model'}: no row that can be selected has a vector of finite numbers")
        numbers = random_scores(pool.row_ids, pool.seed if self.draws else 0, self.strategy)
        order = np.array(ranking(np.where(usable, numbers, np.nan))[: int(usable.sum())])
        taken = self.take(
            rows_with_vectors(self, pool, ALONE, order, numbers, numbers), self.count(len(pool), len(order))
        )
        values = {int(order[at]): n for n, at in enumerate(taken.order)}
        return picked(
            order[taken.order],
            usable,
            lost,
            dict.fromkeys(order[taken.dropped].tolist(), NEAR_DUPLICATE),
            lambda at: {name: _number(found, values.get(at)) for name, found in taken.values.items()},
            {"diversify": dict(taken.record)},
        )

    def sentence(self, arm: ArmConfig) -> str:
        return f"{self.words()}, by the {self.vectors()}"


def _number(found: np.ndarray, at: int | None) -> float | int | None:
    value = None if at is None else found[at].item()
    return value if value is not None and np.isfinite(value) else None
