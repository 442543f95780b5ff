"""Prompts of released evaluation scripts: the task classes of evaluate/benchmarks/tasks/<benchmark>_<prompts>.yaml.

`selectit`: the scripts that Blue-Raincoat/SelectIT releases with its paper, which are open-instruct's of 2023. A class
builds the whole prompt of an item as one text, which lm-eval asks as it is. Reads tydiqa_words.yaml next to it.
`instructdiff`: zhuchichi56/Instruct-diff, whose medical script reads the first token alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import yaml
from lm_eval.api.instance import Instance
from transformers import PreTrainedTokenizerBase

from selectit.evaluate.benchmarks.task import DataDirTask
from selectit.evaluate.grading.released_graders import LETTERS, instructdiff_letter

NUM_FIRST_TOKENS = 10
"""Of InstructDiff's medical script."""
MAX_PROMPT_TOKENS = 2048
"""Of MMLU, without special tokens: demonstrations are dropped until a prompt is no longer, whatever the context."""
MAX_CONTEXT_TOKENS = 512
"""Of TyDiQA's passages, with the tokenizer's start token."""


class ReleasedTask(DataDirTask):
    tokenizer: PreTrainedTokenizerBase | None = None
    """The evaluated model's, where prompts depend on it (files.needs_tokenizer)."""

    def whole_prompt(self, doc: dict[str, Any]) -> str:
        raise NotImplementedError

    def fewshot_context(self, doc: dict[str, Any], *args: Any, **kwargs: Any) -> str:
        return self.whole_prompt(doc)

    def draw_demonstrations(self, generator: random.Random) -> None:
        """After the items of all tasks are drawn; most scripts ask the same demonstrations without drawing."""


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


class SelectitTydiqa(ReleasedTask):
    _demonstrations: tuple[dict[str, Any], ...] = ()

    def draw_demonstrations(self, generator: random.Random) -> None:
        self._demonstrations = tuple(generator.sample(list(self.training_docs()), self.config.num_fewshot))

    def whole_prompt(self, doc: dict[str, Any]) -> str:
        words = _tydiqa_words()[doc["id"].split("-")[0]]
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
def _tydiqa_words() -> dict[str, dict[str, str]]:
    """By language: the sentence of instruction and the words before passage, question and answer."""
    found = (files("selectit.evaluate.benchmarks") / "tydiqa_words.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(found)  # type: ignore[no-any-return]


class InstructdiffChoice(DataDirTask):
    """Asked for its most probable first tokens alone; the prompts stand in the task files."""

    def construct_requests(self, doc: dict[str, Any], ctx: str | list[str], **kwargs: Any) -> Instance:
        metadata = kwargs["metadata"]
        return Instance("first_tokens", doc, (ctx, NUM_FIRST_TOKENS), 0, metadata)  # type: ignore[arg-type]

    def process_results(self, doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
        return {"acc": float(LETTERS.index(instructdiff_letter(results[0])) == self.doc_to_target(doc))}
