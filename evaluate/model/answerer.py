"""A loaded model that answers batches of requests, in halves where a batch does not fit into memory."""

from __future__ import annotations

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selectit.evaluate.model.ends import Decode
from selectit.evaluate.model.generation import generate
from selectit.evaluate.model.likelihood import first_tokens, log_likelihoods
from selectit.evaluate.model.prefix import SharedPrefix, shares_prefixes
from selectit.evaluate.model.requests import Answer, Batch, FirstTokens, Generation, Likelihood

_CPU_OUT_OF_MEMORY = "DefaultCPUAllocator"
"""What torch's message names where memory on the CPU is refused; the class is a plain RuntimeError."""


class Answerer:
    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        decode: Decode,
    ) -> None:
        self._model, self._tokenizer, self._decode = model, tokenizer, decode
        self.shares = shares_prefixes(model)
        self._prefix = SharedPrefix(model)
        self._fits: float = float("inf")  # tokens

    def answer(self, batch: Batch) -> list[Answer]:
        """Raises: torch.OutOfMemoryError, on CPU RuntimeError, where not even one request fits into memory; UserError
        where logits are not finite.
        """
        size = _num_tokens(batch)
        if size <= self._fits or len(batch.requests) == 1:
            try:
                return self._answer(batch)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if len(batch.requests) == 1 or not _is_out_of_memory(error):
                    raise
                self._fits = size / 2
            torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors
        half = len(batch.requests) // 2
        parts = (batch.requests[:half], batch.requests[half:])
        return [answer for part in parts for answer in self.answer(Batch(part, batch.prefix))]

    def _answer(self, batch: Batch) -> list[Answer]:
        if isinstance(batch.requests[0], Likelihood):
            rows = [request for request in batch.requests if isinstance(request, Likelihood)]
            return log_likelihoods(self._model, self._prefix, rows, batch.prefix)
        if isinstance(batch.requests[0], FirstTokens):
            asked = [request for request in batch.requests if isinstance(request, FirstTokens)]
            return first_tokens(self._model, self._prefix, asked, batch.prefix)
        prompts = [request for request in batch.requests if isinstance(request, Generation)]
        shared = self._prefix if self.shares else None
        return generate(self._model, self._tokenizer, self._decode, shared, prompts, batch.prefix)


def _num_tokens(batch: Batch) -> int:
    new = [r.settings.max_new_tokens if isinstance(r, Generation) else 0 for r in batch.requests]
    return len(batch.requests) * max(len(r.ids) + n for r, n in zip(batch.requests, new, strict=True))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or _CPU_OUT_OF_MEMORY in str(error)
