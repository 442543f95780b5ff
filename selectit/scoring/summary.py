"""What a finished ledger of ratings holds in all: counts and means, read a row group at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.scoring.ledger import ratings_of, value_counts


def summarise(ledger: Path, context: int | None) -> dict[str, Any]:
    """Args: context: tokens that the model was made for; None: not known."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    mass = 0.0
    spread = _Spread()
    columns = ["prompt", "probabilities", "mass", "num_tokens", "truncated", "failure", "taken_from"]
    for table in _row_groups(ledger, columns):
        spread.add(table.filter(compute.is_null(table["failure"])))
        rated = table["mass"].drop_null().to_numpy()
        num_tokens = table["num_tokens"].to_numpy()
        mass += float(rated.sum())
        counts["num_ratings"] += len(rated)
        counts["num_tokens"] += int(num_tokens.sum())
        counts["num_truncated"] += int(table["truncated"].to_numpy().sum())
        whole = table["failure"].is_null().to_numpy()
        counts["num_over_context"] += int((num_tokens[whole] > context).sum()) if context else 0
        failures.update(value_counts(table["failure"]))
        sources.update(value_counts(table["taken_from"]))
    return {
        "num_ratings": counts["num_ratings"],
        "num_reused": sum(sources.values()),
        "num_truncated": counts["num_truncated"],
        "num_over_context": counts["num_over_context"],
        "mean_mass": mass / counts["num_ratings"] if counts["num_ratings"] else 0.0,
        "num_tokens": counts["num_tokens"],
        "answer_spread": spread.largest,
        "reused_from": dict(sources),
        "failures": dict(failures),
    }


class _Spread:
    """How far a rater's answers to one rating prompt lie apart, at most: 0 where it answers every row alike."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, table: Any) -> None:
        """Args: table: records without a failure."""
        prompts, shares = table["prompt"].to_numpy(), ratings_of(table)
        shares = shares / shares.sum(axis=1, keepdims=True)
        for prompt in np.unique(prompts).tolist():
            own = shares[prompts == prompt]
            low, high = self._ends.get(prompt, (own[0], own[0]))
            self._ends[prompt] = np.minimum(low, own.min(axis=0)), np.maximum(high, own.max(axis=0))

    @property
    def largest(self) -> float:
        """Of the share of a rating among the five."""
        return max((float((high - low).max()) for low, high in self._ends.values()), default=0.0)


def _row_groups(ledger: Path, columns: list[str]) -> Iterator[Any]:
    with parquet.ParquetFile(ledger) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=columns)
