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

from selectit.evaluate.released_graders import instructdiff_letter

RESULT_FILE = "result.json"
ITEMS_FILE = "items.jsonl"
MAX_CELL_CHARS = 500

Outcome = Literal["read", "unparsed"]
"""Whether an answer could be read out of a model's text."""
Ending = Literal["end", "stop", "limit"]
"""By an end token, by a stop string, or at the limit of new tokens."""


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
    """Texts; for multiple choice the log-probability of each choice, or the first tokens with theirs."""
    answer: str | None
    target: Any
    score: float | None
    """The table's metric on this item; None until a sandbox or a judge has spoken."""
    details: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    """One per output where a grader reads an answer out of a text."""
    endings: list[Ending | None] = field(default_factory=list)
    """One per output, how its generation ended; None where that is not known."""
    truncated: bool | None = None
    """Whether the prompt was longer than the context and lost its beginning; None where that is not known."""

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
            **({"outcomes": self.outcomes} if self.outcomes else {}),
            **({"endings": self.endings} if self.endings else {}),
            **({} if self.truncated is None else {"truncated": self.truncated}),
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
    """What happened in this run."""
    protocol_notes: list[str] = field(default_factory=list)
    """What is true of every number under this profile (BenchmarkConfig.notes)."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    tasks: dict[str, dict[str, float]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, str | None] | None = None
    """The hub's data set and its commit; None: a folder."""
    lm_eval_version: str = ""
    grader: dict[str, Any] | None = None
    """Name and version of what read the answers out of texts; None where nothing is read out of them."""
    outcomes: dict[Outcome, int] | None = None
    """How many answers could be read and how many could not; None where nothing is read out of them."""
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


def count_outcomes(items: Sequence[Item]) -> dict[Outcome, int]:
    found = [outcome for item in items for outcome in item.outcomes]
    return {"read": found.count("read"), "unparsed": found.count("unparsed")}


def read_items(results: Mapping[str, Any], metric: str) -> list[Item]:
    """Items in the order of tasks and of their upstream files, scored by the table's metric where lm-eval scores it."""
    items = []
    for task, samples in results["samples"].items():
        for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
            items.append(_item(task, sample, sample.get(metric)))
    return items


def _item(task: str, sample: Mapping[str, Any], score: Any) -> Item:
    first = sample["resps"][0][0]
    if isinstance(first, tuple):  # multiple choice: one (log-probability, is greedy) per choice
        outputs = [response[0][0] for response in sample["resps"]]
        answer, target = "ABCD"[outputs.index(max(outputs))], "ABCD"[sample["target"]]
    elif isinstance(first, list):  # first tokens: (text, log-probability) of each
        outputs = [list(pair) for pair in first]
        answer, target = instructdiff_letter(first), "ABCD"[sample["target"]]
    else:
        outputs, answer, target = list(sample["resps"][0]), None, sample["target"]
    return Item(
        task=task, item_id=sample["doc_id"], doc=sample["doc"], prompt=sample["arguments"][0][0],
        outputs=outputs, answer=answer, target=target, score=None if score is None else float(score),
    )  # fmt: skip


def sample_rows(items: Sequence[Item], count: int = 8) -> tuple[list[str], list[list[Any]]]:
    """Columns and a few rows, spread over the items, for a table that a person looks at."""
    columns = ["task", "item_id", "prompt", "output", "target", "score"]
    chosen = [items[i * len(items) // count] for i in range(count)] if len(items) > count else items
    end, start = slice(-MAX_CELL_CHARS, None), slice(MAX_CELL_CHARS)
    return columns, [
        [i.task, i.item_id, i.prompt[end], str(i.outputs[0])[start], str(i.target)[start], i.score] for i in chosen
    ]
