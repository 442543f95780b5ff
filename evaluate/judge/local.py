"""A judge in this process: a model's next-token probabilities of the letters m and M after evaluate/judge/prompt.txt.

Each comparison is made in both orders of the answers, so that a preference for a position cancels out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.evaluate.judge.base import AnswerPair
from selectit.evaluate.model.harness import quiet
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.loaded import refuse_without_numbers
from selectit.inference.memory import is_out_of_memory
from selectit.inference.padded import PaddedRater
from selectit.store.fingerprint import pinned

_LABELS = ("m", "M")
_MIN_ANSWER_TOKENS = 16


class LogProbabilityJudge:
    def __init__(self, model: str) -> None:
        self.name = f"hf:{Path(model).name if Path(model).exists() else model}"
        self.num_shortened = 0  # comparisons in which an answer had to be cut to fit the judge's context
        self._num_compared = 0
        self._config = pinned(ModelConfig(path=model))
        self._tokenizer = load_tokenizer(self._config)
        self._prompt = (files("selectit.evaluate.judge") / "prompt.txt").read_text(encoding="utf-8")
        self.prompt_sha256 = hashlib.sha256(self._prompt.encode()).hexdigest()
        self._labels = self._split("", "", "")[1]

    def describe(self) -> dict[str, str]:
        return {"name": self.name, "prompt_sha256": self.prompt_sha256}

    def check(self) -> None:
        """The tokenizer and the labels were read when it was made."""

    def compare(self, comparisons: Sequence[AnswerPair], advance: Callable[[int], None]) -> list[float | None]:
        """Raises: UserError for a model that gives no numbers."""
        self.num_shortened = 0
        preferred: list[float | None] = []
        for one in comparisons:
            preferred.append(self.prefer(one.instruction, one.output, one.reference))
            advance(1)
        self._num_compared = len(comparisons)
        return preferred

    def left_out(self) -> None:
        return None

    def usage(self) -> None:
        return None

    def notes(self) -> list[str]:
        cut = f"{self.num_shortened} of {self._num_compared} comparisons were cut to fit the judge's context"
        return [cut] if self.num_shortened else []

    def prefer(self, instruction: str, first: str, second: str) -> float:
        """Probability that the first output is the better one; 0.5 for equal outputs."""
        if first == second:
            return 0.5
        before, after = self._fit(instruction, first, second)
        as_m = self._probability_of_m(instruction, before, after)
        as_M = 1 - self._probability_of_m(instruction, after, before)
        return (as_m + as_M) / 2

    @cached_property
    def _model(self) -> PreTrainedModel:
        with quiet():
            return load_model(self._config)

    @cached_property
    def _path(self) -> PaddedRater:
        refuse_without_numbers(self._model)
        return PaddedRater(self._model, self._labels)

    @torch.inference_mode()
    def _logits(self, prompt: list[int]) -> torch.Tensor:
        """Of m and M behind a prompt, float64 [2]. It is read alone, for padding would change its rounding."""
        try:
            [of_labels] = self._path.next_logits([np.array(prompt)])[:, list(self._labels)].double()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"evaluate.judge: a comparison of {len(prompt)} tokens does not fit into memory together with "
                f"{self.name}; free memory, or use a smaller judge or one behind an endpoint"
            ) from error
        return of_labels

    @property
    def _context_tokens(self) -> int:
        return self._model.config.max_position_embeddings

    def _probability_of_m(self, instruction: str, output_m: str, output_M: str) -> float:
        ids, _ = self._split(instruction, output_m, output_M)
        of_labels = self._logits(ids)
        if not torch.isfinite(of_labels).all():
            raise UserError(
                f"evaluate.judge: {self.name} gives {of_labels.tolist()} as logits of 'm' and 'M', which do not "
                "state a preference; its weights are damaged or overflow their number format, use another model"
            )
        return torch.softmax(of_labels, 0)[0].item()

    def _split(self, instruction: str, output_m: str, output_M: str) -> tuple[list[int], tuple[int, int]]:
        """Token ids of the prompt, and of m and M as they follow it.

        The whole text is tokenised, for a label may merge with what stands before it.
        """
        texts = {"instruction": instruction, "output_m": output_m, "output_M": output_M}
        prompt = re.sub(r"\{(instruction|output_m|output_M)\}", lambda match: texts[match[1]], self._prompt)
        with_m, with_M = (self._tokenizer(prompt + label).input_ids for label in _LABELS)
        if len(with_m) != len(with_M) or with_m[:-1] != with_M[:-1] or with_m[-1] == with_M[-1]:
            raise UserError(
                f"evaluate.judge: the tokenizer of {self.name} does not write 'm' and 'M' as one token each after the "
                "judge's prompt, so their probabilities cannot be compared; use another model"
            )
        return with_m[:-1], (with_m[-1], with_M[-1])

    def _fit(self, instruction: str, first: str, second: str) -> tuple[str, str]:
        """The outputs, cut to an equal number of tokens where both do not fit into the judge's context."""
        length = len(self._split(instruction, first, second)[0])
        if length <= self._context_tokens:
            return first, second
        self.num_shortened += 1
        room = (self._context_tokens - len(self._split(instruction, "", "")[0])) // 2
        if room < _MIN_ANSWER_TOKENS:
            raise UserError(
                f"evaluate.judge: an instruction of {length} tokens leaves no room for answers in the context of "
                f"{self.name} ({self._context_tokens} tokens); use a judge with a longer context"
            )
        tokens = [self._tokenizer(output, add_special_tokens=False).input_ids for output in (first, second)]
        while True:  # a text that was cut and decoded may take more tokens again
            first, second = (str(self._tokenizer.decode(ids[:room])) for ids in tokens)
            if len(self._split(instruction, first, second)[0]) <= self._context_tokens:
                return first, second
            room -= _MIN_ANSWER_TOKENS
