"""TruthfulQA as an lm-eval task: what is asked of it are the log-probabilities of its choices alone."""

from __future__ import annotations

from typing import Any

from selectit.evaluate.benchmarks.task import DataDirTask


class TruthfulTask(DataDirTask):
    def doc_to_target(self, doc: dict[str, Any], *args: Any, **kwargs: Any) -> str:
        return str(doc["choices"][doc["best"]])

    def process_results(self, doc: dict[str, Any], results: list[Any]) -> dict[str, Any]:
        """Nothing: the items are scored afterwards (grading/true_choices.py)."""
        return {}
