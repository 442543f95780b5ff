"""TyDiQA's prompts in SelectIT's released script. Reads selectit_words.yaml next to it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from selectit.evaluate.benchmarks.released import ReleasedTask

MAX_CONTEXT_TOKENS = 512
"""Of a passage, with the tokenizer's start token."""


class SelectitTydiqa(ReleasedTask):
    _demonstrations: tuple[dict[str, Any], ...] = ()

    def draw_demonstrations(self, generator: random.Random) -> None:
        self._demonstrations = tuple(generator.sample(list(self.training_docs()), self.config.num_fewshot))

    def whole_prompt(self, doc: dict[str, Any]) -> str:
        words = _words()[doc["id"].split("-")[0]]
        shots = [f"{self._asked(row, words)} {row['answers'][0]}" for row in self._demonstrations]
        return "\n\n".join([words["instruction"], *shots, self._asked(doc, words)])

    def _asked(self, row: Mapping[str, Any], words: Mapping[str, str]) -> str:
        return (
            f"{words['passage']} {self._cut(row['context'])}\n{words['question']} {row['question']}\n{words['answer']}"
        )

    def _cut(self, context: str) -> str:
        """The start token is decoded too, so that LLaMA's cut passages begin with a literal `<s> `."""
        assert self.tokenizer is not None
        ids = self.tokenizer.encode(context)
        return context if len(ids) <= MAX_CONTEXT_TOKENS else str(self.tokenizer.decode(ids[:MAX_CONTEXT_TOKENS]))


@cache
def _words() -> dict[str, dict[str, str]]:
    """By language: the sentence of instruction and the words before passage, question and answer."""
    found = (files("selectit.evaluate.benchmarks.tydiqa") / "selectit_words.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(found)  # type: ignore[no-any-return]
