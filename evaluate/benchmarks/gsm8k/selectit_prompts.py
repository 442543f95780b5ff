"""GSM8K's prompts in SelectIT's released script."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from selectit.evaluate.benchmarks.released import ReleasedTask


class SelectitGsm8k(ReleasedTask):
    """lm-eval's eight worked examples, whose last sentences begin otherwise in the released script."""

    def whole_prompt(self, doc: dict[str, Any]) -> str:
        return f"{self._head}\n\nQuestion: {doc['question'].strip()}\nAnswer:"

    @cached_property
    def _head(self) -> str:
        shots = [
            f"Question: {shot['question']}\nAnswer: {shot['target'].replace('The answer is', 'So the answer is')}"
            for shot in self.fewshot_docs()
        ]
        return "\n\n".join(["Answer the following questions.", *shots])
