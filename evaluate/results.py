"""What one benchmark writes: result.json and items.jsonl, made from lm-eval's results.

Metrics go by name and items by id, so that two models can be compared item by item.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from selectit.data.jsonl import write_jsonl
from selectit.evaluate.grading.released_graders import instructdiff_letter
from selectit.inference.requests import Ending
from selectit.store.names import ITEMS_FILE, RESULT_FILE

MAX_CELL_CHARS = 500
CHOICES = "ABCD"

Outcome = Literal["read", "unparsed"]
"""Whether an answer could be read out of a model's text."""


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
class BenchmarkResult:
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
    tasks: dict[str, dict[str, int | float]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, str | None] | None = None
    """The hub's data set and its commit; None: a folder."""
    lm_eval_version: str = ""
    grader: dict[str, Any] | None = None
    """Name and version of what read the answers out of texts; None where nothing is read out of them."""
    outcomes: dict[Outcome, int] | None = None
    """How many answers could be read and how many could not; None where nothing is read out of them."""
    answers_sha256: str = ""
    """Of the answers alone: the same for every grading of them."""
    answer_health: dict[str, float | None] | None = None
    """Shares of answers that are empty, unparsed and so on (evaluate/grading/health.py)."""
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

    def named(self) -> dict[str, float]:
        """Every metric under the names that lm-eval logs: `mmlu/acc`, `mmlu/acc_stderr`, and `mmlu/num_items`."""
        flat: dict[str, float | None] = {f"{self.benchmark}/num_items": self.num_items}
        for name, metric in self.metrics.items():
            flat[f"{self.benchmark}/{name}"] = metric.value
            flat[f"{self.benchmark}/{name}_stderr"] = metric.stderr
        return {name: float(number) for name, number in flat.items() if number is not None}

    def write(self, out: Path, items: Sequence[Item]) -> None:
        write_jsonl(out / ITEMS_FILE, (item.line() for item in items))
        (out / RESULT_FILE).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def mean_metric(scores: Sequence[float]) -> Metric:
    """The mean with its standard error, sample standard deviation over the root of n."""
    stderr = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None
    return Metric(statistics.fmean(scores), stderr, len(scores))


def count_outcomes(items: Sequence[Item]) -> dict[Outcome, int] | None:
    found = [outcome for item in items for outcome in item.outcomes]
    if not found:
        return None
    return {"read": found.count("read"), "unparsed": found.count("unparsed")}


def answers_digest(answers: Iterable[tuple[str, int, list[Any]]]) -> str:
    """What was answered to which items, (task, item_id, outputs): the same for every grader and judge of it."""
    ordered = sorted((list(answer) for answer in answers), key=lambda one: one[:2])
    return hashlib.sha256(json.dumps(ordered, ensure_ascii=False).encode()).hexdigest()


def read_items(results: Mapping[str, Any]) -> list[Item]:
    """Items in the order of tasks and of their upstream files; those with choices are scored.

    Args: results: lm-eval's, with one sample per item.
    """
    return [
        _item(task, sample)
        for task, samples in results["samples"].items()
        for sample in sorted(samples, key=lambda sample: sample["doc_id"])
    ]


def _item(task: str, sample: Mapping[str, Any]) -> Item:
    item = Item(
        task=task, item_id=sample["doc_id"], doc=sample["doc"], prompt=sample["arguments"][0][0],
        outputs=list(sample["resps"][0]), answer=None, target=sample["target"], score=None,
    )  # fmt: skip
    first = sample["resps"][0][0]
    if isinstance(first, list):  # first tokens: (text, log-probability) of each
        item.outputs = [list(pair) for pair in first]
        item.answer, item.target = instructdiff_letter(first), CHOICES[sample["target"]]
        item.score = float(item.answer == item.target)
    elif isinstance(first, tuple):  # multiple choice: one (log-probability, is greedy) per choice
        item.outputs = [response[0][0] for response in sample["resps"]]
        if isinstance(sample["target"], int):  # else a text: of several true answers, scored afterwards
            item.target = CHOICES[sample["target"]]
            choose(item)
    return item


def choose(item: Item) -> None:
    """Score an item by the most probable of its choices, the first of several.

    Where all are equally probable the model has chosen nothing, which is worth what drawing a choice is.
    """
    best = max(item.outputs)
    if min(item.outputs) == best:
        item.answer, item.score = None, 1 / len(item.outputs)
    else:
        item.answer = CHOICES[item.outputs.index(best)]
        item.score = float(item.answer == item.target)


def choice_notes(items: Sequence[Item]) -> list[str]:
    undecided = sum(item.answer is None and not item.outcomes for item in items)
    note = f"{undecided} of {len(items)} items count as drawn by chance: all their choices are equally probable"
    return [note] if undecided else []


def sample_rows(items: Sequence[Item], count: int = 8) -> tuple[list[str], list[list[Any]]]:
    """Columns and a few rows, spread over the items, for a table that a person looks at."""
    columns = ["task", "item_id", "prompt", "output", "target", "score"]
    chosen = [items[i * len(items) // count] for i in range(count)] if len(items) > count else items
    end, start = slice(-MAX_CELL_CHARS, None), slice(MAX_CELL_CHARS)
    return columns, [
        [i.task, i.item_id, i.prompt[end], str(i.outputs[0])[start], str(i.target)[start], i.score] for i in chosen
    ]
