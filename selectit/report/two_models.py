"""Two models on the items of a benchmark: which items only one of them solves, and a test over the items.

What is found is about these two trained models. Other training seeds of the same methods may give another result.
Reads result.json and items.jsonl of two evaluate artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selectit.report.tables.item_runs import MOST_MISSING, gives
from selectit.report.tables.item_texts import Differing, ItemPair, chosen, differing, read_pairs
from selectit.report.tables.results import settings_of
from selectit.statistics import ALPHA
from selectit.statistics.item_error import item_error
from selectit.statistics.items import ItemScores, item_weights, make_units, read_scores
from selectit.statistics.method import infer, spread
from selectit.statistics.paired import holm, mcnemar, num_draws, sign_flips
from selectit.store.artifact import Artifact
from selectit.store.fingerprint import canonical_json
from selectit.store.names import ITEMS_FILE, MANIFEST, RESULT_FILE

SEED = 0


@dataclass(frozen=True)
class TwoModels:
    """Two evaluations of one benchmark. Numbers are fractions; differences are the first less the second."""

    benchmark: str
    metric: str
    place: str
    """Row and select/train/eval seeds of the two; empty of single artifacts."""
    value: float | None
    other_value: float | None
    num_items: int = 0
    """Items that both have a score for."""
    num_higher: int = 0
    """Items that the first scores higher; of scores 0 and 1, those that only the first solves."""
    num_lower: int = 0
    difference: float | None = None
    low: float | None = None
    """95 % interval over items."""
    high: float | None = None
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    """Corrected for all benchmarks and seeds that are compared in one go."""
    reason: str = ""
    """Why the two are not compared, or not tested."""
    items: Sequence[ItemPair] = field(default_factory=tuple)

    @property
    def word(self) -> str:
        if self.p_holm is None or self.difference is None:
            return "not tested" if self.num_items else "not compared"
        if self.p_holm >= ALPHA:
            return "not significant"
        return "A higher" if self.difference > 0 else "B higher"


def compare_models(
    pairs: Sequence[tuple[str, str, Path, Path]], num_items: int = 0, whole: bool = False
) -> list[TwoModels]:
    """Every pair, with Holm's correction over all of them.

    Args:
        pairs:     benchmark, place, and the artifact folders of the two evaluations.
        num_items: of those that differ, how many are read with prompt and answers.
        whole:     texts as they are, not shortened.
    """
    found = [_compare(*pair, num_items, whole) for pair in pairs]
    tested = [one for one in found if one.p is not None]
    corrected = dict(zip(map(id, tested), holm([one.p for one in tested if one.p is not None]), strict=True))
    return [replace(one, p_holm=corrected.get(id(one))) for one in found]


def _compare(benchmark: str, place: str, ours: Path, theirs: Path, num_items: int, whole: bool) -> TwoModels:
    one, other = _read(ours, RESULT_FILE), _read(theirs, RESULT_FILE)
    blank = TwoModels(benchmark, one["metric"], place, one["value"], other["value"])
    if reason := _obstacle(ours, theirs, one, other):
        return replace(blank, reason=reason)
    first, second = (read_scores(folder / ITEMS_FILE) for folder in (ours, theirs))
    if not first.keys:
        return replace(blank, reason="its items are not recorded")
    if first.keys != second.keys:
        common = len(set(first.keys) & set(second.keys))
        return replace(
            blank,
            reason=f"the items are not the same: {len(first.keys)} of A, {len(second.keys)} of B, {common} in both",
        )
    both = differing(first, second)
    counted = replace(
        blank, num_items=len(both.keys), num_higher=len(both.higher), num_lower=len(both.lower),
        items=read_pairs(ours / ITEMS_FILE, theirs / ITEMS_FILE, chosen(both, num_items), whole) if num_items else (),
    )  # fmt: skip
    missing = len(first.keys) - len(both.keys)
    if missing > MOST_MISSING * len(first.keys):
        return replace(counted, reason=f"{missing} of {len(first.keys)} items have no score in one of the two")
    values = ((one["value"], first), (other["value"], second))
    mean = next((m for m in ("items", "tasks") if all(gives(value, items, m) for value, items in values)), None)
    if mean is None:
        return replace(counted, reason="the value is not a mean over its items, so there is no test over items")
    return replace(counted, **_tested(both, first, second, mean))


def _tested(both: Differing, first: ItemScores, second: ItemScores, mean: Any) -> dict[str, Any]:
    kept = np.array([key in both.apart for key in first.keys])
    scores = np.stack([first.scores[kept], second.scores[kept]], axis=1)  # [num_items, 2]
    tasks = [task for task, _ in both.keys]
    units = make_units(tasks, item_weights(tasks, mean), scores)
    parts = units.sums[:, :1] - units.sums[:, 1:]
    difference = float(parts.sum())
    inference = infer(difference, spread((), item_error(units, [0], [1])))
    if units.kind == "item" and units.equal and np.isin(scores, (0.0, 1.0)).all():
        test, p = "McNemar, exact", mcnemar(scores[:, 0], scores[:, 1])
    else:
        flips = sign_flips(parts, num_draws(1), np.random.default_rng(SEED))
        how = "exact" if flips.exact[0] else f"{len(flips.draws):,} draws"
        test, p = f"sign flips by {units.kind}, {how}", float(flips.p[0])
    return {"difference": difference, "test": test, "p": p, "low": inference.low, "high": inference.high}


def _obstacle(ours: Path, theirs: Path, one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    for name, record in (("A", one), ("B", other)):
        if record["value"] is None:
            return f"{name} has no number: {record['reason'] or record['status']}"
    if ours.resolve() == theirs.resolve():
        return "A and B are the same evaluation of the same model"
    settings = [settings_of(Artifact(folder, _read(folder, MANIFEST))) for folder in (ours, theirs)]
    differ = [
        f"{key} {_short(settings[0].get(key))} of A, {_short(settings[1].get(key))} of B"
        for key in sorted({*settings[0], *settings[1]})
        if canonical_json(settings[0].get(key)) != canonical_json(settings[1].get(key))
    ]
    return f"not asked with the same settings: {'; '.join(differ)}" if differ else ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _read(folder: Path, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return record
