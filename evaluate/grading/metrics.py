"""A benchmark's metrics, computed from its items: of all questions alike, or of all tasks alike.

Standard errors are over items within the tasks that the profile names, so that a table's number and a pair of rows can
be computed again from items.jsonl alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from selectit.evaluate.results import Item, Metric, mean_metric

MeanOf = Literal["items", "tasks"]


def metrics_of(items: Sequence[Item], mean_of: MeanOf, metric: str, others: Sequence[str] = ()) -> dict[str, Metric]:
    """Args: metric: whose values are the items' scores; others: metrics whose values stand in the items' details."""
    return {name: _mean(by_task(items, metric, name), mean_of) for name in (metric, *others)}


def mean_of_parts(items: Sequence[Item], name: str) -> Metric:
    """Of all parts of all items; without a standard error, as parts of an item go together."""
    return Metric(statistics.fmean(part for item in items for part in item.details[name]), None, len(items))


def by_task(items: Sequence[Item], metric: str, name: str) -> dict[str, list[float]]:
    """{task: value of one metric on each of its items}."""
    values: dict[str, list[float]] = {}
    for item in items:
        value = item.score if name == metric else item.details[name]
        assert value is not None, f"{item.task}, item {item.item_id} has no {name}"
        values.setdefault(item.task, []).append(float(value))
    return values


def task_numbers(
    items: Sequence[Item], metric: str | None = None, others: Sequence[str] = ()
) -> dict[str, dict[str, int | float]]:
    """{task: num_items and the mean of every metric}. Args: metric: None where items have no scores yet."""
    found: dict[str, dict[str, int | float]] = {}
    for item in items:
        found.setdefault(item.task, {"num_items": 0})["num_items"] += 1
    if metric is None:
        return found
    for name in (metric, *others):
        for task, values in by_task(items, metric, name).items():
            found[task][name] = statistics.fmean(values)
    return found


def _mean(values: Mapping[str, Sequence[float]], mean_of: MeanOf) -> Metric:
    tasks = {task: mean_metric(of_task) for task, of_task in values.items()}
    every = [value for of_task in values.values() for value in of_task]
    errors = [metric.stderr for metric in tasks.values()]
    known = [error for error in errors if error is not None]
    if mean_of == "tasks":
        mean = statistics.fmean(metric.value for metric in tasks.values())
        stderr = math.sqrt(sum(error**2 for error in known)) / len(tasks)
    else:  # pooled within tasks, as lm-eval has it
        mean = statistics.fmean(every)
        squares = sum(
            (len(values[task]) - 1) * len(values[task]) * (metric.stderr or 0) ** 2 for task, metric in tasks.items()
        )
        stderr = math.sqrt(squares / max(len(every) - len(tasks), 1) / len(every))
    return Metric(mean, stderr if len(known) == len(errors) else None, len(every))
