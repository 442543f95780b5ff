"""What one benchmark writes: result.json and items.jsonl, made from lm-eval's results.

Metrics go by name and items by id, so that two models can be compared item by item.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

RESULT_FILE = "result.json"
ITEMS_FILE = "items.jsonl"
MAX_CELL_CHARS = 500

_UNSCORED = "bypass"
"""lm-eval's metric of tasks that are scored afterwards."""


@dataclass(frozen=True)
class Metric:
    value: float
    stderr: float | None
    """None for a single item."""
    num_items: int


@dataclass
class Item:
    """One question and what the model said."""

    task: str
    item_id: int
    """Position in the task's upstream file."""
    doc: dict[str, Any]
    """The question as it stands there; not written."""
    prompt: str
    outputs: list[Any]
    """Texts; for multiple choice the log-probability of each choice."""
    answer: str | None
    target: Any
    score: float | None
    """The table's metric on this item; None until a sandbox or a judge has spoken."""
    details: dict[str, Any] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        source_id = self.doc.get("task_id") or self.doc.get("id")
        return {
            "task": self.task,
            "item_id": self.item_id,
            **({} if source_id is None else {"source_id": source_id}),
            "prompt": self.prompt,
            "outputs": self.outputs,
            **({} if self.answer is None else {"answer": self.answer}),
            "target": self.target,
            "score": self.score,
            **self.details,
        }


@dataclass
class Result:
    """result.json; fields as docs/evaluation.md has them."""

    benchmark: str
    profile: str
    metric: str
    value: float | None = None
    stderr: float | None = None
    num_items: int = 0
    status: Literal["scored", "not_scored"] = "not_scored"
    reason: str = ""
    complete: bool = False
    notes: list[str] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    tasks: dict[str, dict[str, float]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, str | None] | None = None
    """The hub's data set and its commit; None: a folder."""
    lm_eval_version: str = ""
    scorers: dict[str, str] = field(default_factory=dict)
    judge: dict[str, str] | None = None
    judge_usage: dict[str, Any] | None = None
    not_computed: dict[str, str] = field(default_factory=dict)
    """Metrics that the benchmark has and this result has not -> why."""

    def score(self, metrics: Mapping[str, Metric]) -> None:
        """Take the table's value out of all metrics."""
        self.metrics = dict(metrics)
        chosen = metrics[self.metric]
        self.value, self.stderr, self.status = chosen.value, chosen.stderr, "scored"
        if len(self.tasks) == 1:  # of a benchmark that is scored after lm-eval, the task has no numbers yet
            (numbers,) = self.tasks.values()
            numbers |= {name: metric.value for name, metric in metrics.items()}

    def flat(self) -> dict[str, float]:
        numbers = {"value": self.value, "stderr": self.stderr, "num_items": self.num_items}
        return {name: float(number) for name, number in numbers.items() if number is not None}

    def write(self, out: Path, items: Sequence[Item]) -> None:
        with (out / ITEMS_FILE).open("w", encoding="utf-8") as f:
            for item in items:
                f.write(json.dumps(item.line(), ensure_ascii=False) + "\n")
        (out / RESULT_FILE).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def mean_metric(scores: Sequence[float]) -> Metric:
    """The mean with its standard error, sample standard deviation over the root of n."""
    stderr = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None
    return Metric(statistics.fmean(scores), stderr, len(scores))


def read_metrics(results: Mapping[str, Any]) -> dict[str, Metric]:
    """The benchmark's metrics: of its group, or of its only task. {} where lm-eval does not score it."""
    (numbers,) = (results.get("groups") or results["results"]).values()
    return {
        name: Metric(float(numbers[key]), _number(numbers.get(key.replace(",", "_stderr,", 1))), numbers["sample_len"])
        for key, name in _names(numbers).items()
    }


def read_tasks(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{task: its metrics and num_items}, one entry per subject, language or sub-task."""
    leaves = {task: results["results"][task] for task in results["samples"]}
    return {
        task: {
            "num_items": numbers["sample_len"],
            **{name: float(numbers[key]) for key, name in _names(numbers).items()},
        }
        for task, numbers in leaves.items()
    }


def read_items(results: Mapping[str, Any], metric: str) -> list[Item]:
    """Items in the order of tasks and of their upstream files, scored by the table's metric where lm-eval scores it."""
    items = []
    for task, samples in results["samples"].items():
        name, _, wanted = metric.partition(",")
        chosen = wanted or samples[0]["filter"]  # several filters list every item once for each
        for sample in sorted((s for s in samples if s["filter"] == chosen), key=lambda s: s["doc_id"]):
            items.append(_item(task, sample, sample.get(name)))
    return items


def _item(task: str, sample: Mapping[str, Any], score: Any) -> Item:
    first = sample["resps"][0][0]
    answer: str | None
    if isinstance(first, tuple):  # multiple choice: one (log-probability, is greedy) per choice
        outputs = [response[0][0] for response in sample["resps"]]
        answer, target = "ABCD"[outputs.index(max(outputs))], "ABCD"[sample["target"]]
    else:
        outputs, target = list(sample["resps"][0]), sample["target"]
        answer = None if _UNSCORED in sample else str(sample["filtered_resps"][0]).strip()
    return Item(
        task=task, item_id=sample["doc_id"], doc=sample["doc"], prompt=sample["arguments"][0][0],
        outputs=outputs, answer=answer, target=target, score=None if score is None else float(score),
    )  # fmt: skip


def _names(numbers: Mapping[str, Any]) -> dict[str, str]:
    """lm-eval's key -> our name: the filter is part of it only where a metric has several."""
    keys = [key for key in numbers if "," in key and "_stderr," not in key and not key.startswith(_UNSCORED)]
    metrics = [key.partition(",")[0] for key in keys]
    return {key: key if metrics.count(metric) > 1 else metric for key, metric in zip(keys, metrics, strict=True)}


def _number(value: Any) -> float | None:
    return None if value is None or value == "N/A" else float(value)


def sample_rows(items: Sequence[Item], count: int = 8) -> tuple[list[str], list[list[Any]]]:
    """Columns and a few rows, spread over the items, for a table that a person looks at."""
    columns = ["task", "item_id", "prompt", "output", "target", "score"]
    chosen = [items[i * len(items) // count] for i in range(count)] if len(items) > count else items
    end, start = slice(-MAX_CELL_CHARS, None), slice(MAX_CELL_CHARS)
    return columns, [
        [i.task, i.item_id, i.prompt[end], str(i.outputs[0])[start], str(i.target)[start], i.score] for i in chosen
    ]
