"""Prompts of released evaluation scripts: the task classes that several benchmarks share.

`selectit`: the scripts that Blue-Raincoat/SelectIT releases with its paper, which are open-instruct's of 2023. A class
in a benchmark's folder builds the whole prompt of an item as one text, which lm-eval asks as it is.
`instructdiff`: zhuchichi56/Instruct-diff, whose medical script reads the first token alone.
"""

from __future__ import annotations

import random
from typing import Any

from lm_eval.api.instance import Instance
from transformers import PreTrainedTokenizerBase

from selectit.evaluate.benchmarks.task import DataDirTask
from selectit.evaluate.grading.released_graders import LETTERS, instructdiff_letter

NUM_FIRST_TOKENS = 10
"""Of InstructDiff's medical script."""


class ReleasedTask(DataDirTask):
    tokenizer: PreTrainedTokenizerBase | None = None
    """The evaluated model's, where prompts depend on it (files.needs_tokenizer)."""

    def whole_prompt(self, doc: dict[str, Any]) -> str:
        raise NotImplementedError

    def fewshot_context(self, doc: dict[str, Any], *args: Any, **kwargs: Any) -> str:
        return self.whole_prompt(doc)

    def draw_demonstrations(self, generator: random.Random) -> None:
        """After the items of all tasks are drawn; most scripts ask the same demonstrations without drawing."""


class InstructdiffChoice(DataDirTask):
    """Asked for its most probable first tokens alone; the prompts stand in the task files."""

    def construct_requests(self, doc: dict[str, Any], ctx: str | list[str], **kwargs: Any) -> Instance:
        metadata = kwargs["metadata"]
        return Instance("first_tokens", doc, (ctx, NUM_FIRST_TOKENS), 0, metadata)  # type: ignore[arg-type]

    def process_results(self, doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
        return {"acc": float(LETTERS.index(instructdiff_letter(results[0])) == self.doc_to_target(doc))}
