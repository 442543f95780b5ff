"""BIG-Bench Hard's prompts in SelectIT's released script."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from selectit.evaluate.benchmarks.released import ReleasedTask


class SelectitBbh(ReleasedTask):
    """BIG-Bench-Hard's cot-prompts/<task>.txt, put together from lm-eval's parts of it."""

    def whole_prompt(self, doc: dict[str, Any]) -> str:
        return f"{self._file}\n\nQ: {doc['input']}\nA:"

    @cached_property
    def _file(self) -> str:
        # one of the 27 files goes on behind "step by step." where the others begin a line
        gap = " " if self.config.task.endswith("sports_understanding") else "\n"
        shots = [f"Q: {s['input']}\nA: Let's think step by step.{gap}{s['target']}" for s in self.fewshot_docs()]
        return (self.config.description + "\n\n".join(shots)).strip()
