"""AlpacaEval: the answers in AlpacaEval's own form, and their win rate against the reference answers.

Writes model_outputs.json, which AlpacaEval's own tool reads as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.evaluate.judge import Judge
from selectit.evaluate.results import Item, Metric, mean_metric

OUTPUTS_FILE = "model_outputs.json"
METRIC = "win_rate"


def write_outputs(items: Sequence[Item], generator: str, out: Path) -> None:
    """Args: generator: the name of the model in AlpacaEval's tables."""
    rows = [
        {
            "dataset": item.doc["dataset"],
            "instruction": item.doc["instruction"],
            "output": item.outputs[0],
            "generator": generator,
        }
        for item in items
    ]
    (out / OUTPUTS_FILE).write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def output_length(items: Sequence[Item]) -> dict[str, Metric]:
    """Judges like long answers, so a win rate is read beside the mean length."""
    return {"output_chars": mean_metric([len(item.outputs[0]) for item in items])}


def win_rate(items: Sequence[Item], judge: Judge, advance: Callable[[int], None]) -> dict[str, Metric]:
    """Mean probability that the model's answer is preferred to the reference; each item gets its own as score."""
    for item in items:
        item.score = judge.prefer(item.doc["instruction"], item.outputs[0], item.doc["output"])
        advance(1)
    return {METRIC: mean_metric([item.score for item in items if item.score is not None])}


def describe(judge: Judge, references: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What a win rate must agree in to be compared with another."""
    pairs = json.dumps([[row["instruction"], row["output"]] for row in references])
    return {
        "name": judge.name,
        "prompt_sha256": judge.prompt_sha256,
        "reference_sha256": hashlib.sha256(pairs.encode()).hexdigest(),
    }
