"""MMLU's prompts in SelectIT's released script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from selectit.evaluate.benchmarks.released import ReleasedTask
from selectit.evaluate.grading.released_graders import LETTERS

MAX_PROMPT_TOKENS = 2048
"""Without special tokens: demonstrations are dropped until a prompt is no longer, whatever the context."""


class SelectitMmlu(ReleasedTask):
    def whole_prompt(self, doc: dict[str, Any]) -> str:
        assert self.tokenizer is not None
        words = "".join(f" {word}" for word in doc["subject"].split("_"))
        header = f"The following are multiple choice questions (with answers) about {words}.\n\n"
        shots = list(self._shots)
        while True:
            text = header + "".join(shots) + _question(doc)
            if not shots or len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) <= MAX_PROMPT_TOKENS:
                return text
            shots.pop()

    @cached_property
    def _shots(self) -> list[str]:
        rows = list(self.fewshot_docs())[: self.config.num_fewshot]
        return [f"{_question(row)} {LETTERS[row['answer']]}\n\n" for row in rows]


def _question(row: Mapping[str, Any]) -> str:
    choices = "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=True))
    return f"{row['question']}{choices}\nAnswer:"
