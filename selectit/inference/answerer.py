"""A loaded model that answers batches of requests, in halves where a batch does not fit into memory."""

from __future__ import annotations

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selectit.errors import UserError
from selectit.inference.answer_end import Decode
from selectit.inference.batch import Batch
from selectit.inference.generation import generate
from selectit.inference.likelihood import read_ends
from selectit.inference.memory import Halving
from selectit.inference.prefix import SharedPrefix, shares_prefixes
from selectit.inference.requests import Answer, FirstTokens, Generation, Likelihood, Request


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
        self._halving: Halving[Request] = Halving(_num_tokens, _too_large)

    def answer(self, batch: Batch[Request]) -> list[Answer]:
        """Raises: UserError where not even one request fits into memory, or logits are not finite."""
        answers: list[Answer] = []
        for part in self._halving.parts(batch):
            with part:
                answers += self._answer(part.batch)
        return answers

    def _answer(self, batch: Batch[Request]) -> list[Answer]:
        prompts = [request for request in batch.items if isinstance(request, Generation)]
        if not prompts:
            asked = [request for request in batch.items if isinstance(request, Likelihood | FirstTokens)]
            return read_ends(self._model, self._prefix, asked, batch.prefix)
        shared = self._prefix if self.shares else None
        return generate(self._model, self._tokenizer, self._decode, shared, prompts, batch.prefix)


def _num_new(request: Request) -> int:
    return request.settings.max_new_tokens if isinstance(request, Generation) else 0


def _num_tokens(batch: Batch[Request]) -> int:
    return len(batch.items) * max(len(request.ids) + _num_new(request) for request in batch.items)


def _too_large(request: Request) -> UserError:
    new = f" and {_num_new(request)} new ones" if isinstance(request, Generation) else ""
    return UserError(
        f"a prompt of {len(request.ids)} tokens{new} does not fit into memory, not even alone; what is answered is "
        "kept. Free memory, evaluate with a smaller model.dtype or, on a CPU, set evaluate.num_processes to 1."
    )
