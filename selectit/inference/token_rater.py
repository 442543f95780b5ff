"""What is asked of every token of a text: one forward pass gives all the quantities that are wanted, such as losses.

The same two paths as for ratings: packed rows for models of the LLaMA family, the padded one for all others. The
output head meets some hundred positions at a time, so that the logits of a whole batch never stand in memory. A new
quantity is a function like `loss`, added to those that a stage asks for.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from selectit.inference.batch import Batch, LossText, Text
from selectit.inference.kernels import linear
from selectit.inference.loaded import Rater
from selectit.inference.packed import PackedRater, obstacle
from selectit.inference.padded import PaddedRater

Quantity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits float32 [num_tokens, vocabulary] in front of each token, ids of the tokens [num_tokens]) -> [num_tokens]"""
LOGITS_AT_ONCE = 2**24
"""Elements of the logits that are computed together: 64 MiB in float32, 524 positions of a vocabulary of 32,000."""
PROBE_TOKENS = 8


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A `Quantity`: negative log-likelihood by a softmax over the vocabulary, in nats."""
    return logits.logsumexp(dim=1) - logits.gather(1, targets[:, None])[:, 0]


def make_token_rater(model: PreTrainedModel, quantities: Sequence[Quantity]) -> Rater:
    """Its `rate` gives float64 [num_texts, 2 * len(quantities)]: of each quantity the sum over the scored tokens of a
    text, and over all tokens but the first.
    """
    if obstacle(model) is None:
        return PackedTokenRater(model, quantities)
    return PaddedTokenRater(model, quantities)


class PaddedTokenRater(PaddedRater):
    """Any architecture, texts right-padded to the longest."""

    def __init__(self, model: Any, quantities: Sequence[Quantity]) -> None:
        super().__init__(model, ())
        self._quantities = quantities
        self._head = head_alone(model)
        self._body = model if self._head is None else model.base_model
        self._accepted = set(inspect.signature(self._body.forward).parameters)

    @torch.inference_mode()
    def _forward(self, texts: Sequence[Text]) -> np.ndarray:
        self._forget_longer_texts()
        longest = max(len(text.ids) for text in texts)
        ids = torch.zeros(len(texts), longest, dtype=torch.long)  # [batch, longest]
        mask = torch.zeros_like(ids)
        for number, text in enumerate(texts):
            ids[number, : len(text.ids)] = torch.as_tensor(text.ids)
            mask[number, : len(text.ids)] = 1
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        arguments = {"input_ids": ids, **({"attention_mask": mask} if "attention_mask" in self._accepted else {})}
        found = self._body(**arguments, use_cache=False)
        predicted = mask[:, 1:].bool()
        states = (found.logits if self._head is None else found.last_hidden_state)[:, :-1][predicted]
        head = self._head or torch.nn.Identity()
        return sums(of_tokens(self._quantities, states, ids[:, 1:][predicted], head, self._vocabulary), texts)

    @property
    def _vocabulary(self) -> int:
        return self._model.config.get_text_config().vocab_size


class PackedTokenRater(PackedRater):
    """The LLaMA family, texts behind one another; what they share at their start is computed once."""

    def __init__(self, model: Any, quantities: Sequence[Quantity]) -> None:
        super().__init__(model, ())
        self._quantities = quantities
        self._none = torch.empty(len(quantities), 0)
        self._shared: tuple[tuple[int, ...], torch.Tensor] = ((), self._none)

    @torch.inference_mode()
    def rate(self, batch: Batch[Text]) -> np.ndarray:
        shared = self._shared_values(batch.prefix)
        values = self._own_values([text.ids for text in batch.items], batch.prefix[:-1])
        lengths = [len(text.ids) - max(len(batch.prefix), 1) for text in batch.items]
        whole = [part for own in values.split(lengths, dim=1) for part in (shared, own)]
        return sums(torch.cat(whole, dim=1), batch.items)

    def _shared_values(self, prefix: tuple[int, ...]) -> torch.Tensor:
        """Of the prefix's own tokens but the first: [num_quantities, max(len(prefix) - 1, 0)]."""
        if prefix != self._shared[0]:
            own = self._own_values([np.array(prefix)], ()) if len(prefix) > 1 else self._none
            self._shared = (prefix, own)
        return self._shared[1]

    def _own_values(self, rows: Sequence[np.ndarray], prefix: tuple[int, ...]) -> torch.Tensor:
        """Of the tokens that follow the first own one of each row, row after row: [num_quantities, num_tokens].

        Args: prefix: token ids with which every row starts; the last shared token stands in each row, for what it
            predicts is the row's own.
        """
        shared = self._prefix_of(prefix)
        packed = self._pack([row[len(prefix) :] for row in rows], len(prefix), every=True)
        hidden = self._last_hidden(packed, shared)
        firsts, pasts = zip(*packed.spans, strict=True)
        kept, targets = torch.ones(len(hidden), dtype=torch.bool), torch.ones(len(hidden), dtype=torch.bool)
        kept[[past - 1 for past in pasts]] = False
        targets[list(firsts)] = False
        kept, targets = kept.to(hidden.device), targets.to(hidden.device)
        head = self._model.lm_head
        states = self._norm(hidden[kept], self._model.model.norm)
        logits = functools.partial(linear, weight=head.weight, bias=head.bias)
        return of_tokens(self._quantities, states, packed.ids[targets], logits, head.out_features)


def of_tokens(
    quantities: Sequence[Quantity],
    states: torch.Tensor,
    targets: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    vocabulary: int,
) -> torch.Tensor:
    """Each quantity of each target; logits are computed once for all of them.

    Args: states: [num_tokens, width]; targets: [num_tokens]; head: from states to logits [num_tokens, vocabulary].
    Returns: float32 [num_quantities, num_tokens], on the CPU.
    """
    at_once = max(1, LOGITS_AT_ONCE // vocabulary)
    values = []
    for some, wanted in zip(states.split(at_once), targets.split(at_once), strict=True):
        logits = head(some).float()
        values.append(torch.stack([quantity(logits, wanted) for quantity in quantities]))
    return torch.cat(values, dim=1).cpu()


def sums(values: torch.Tensor, texts: Sequence[Text]) -> np.ndarray:
    """Args:    values: [num_quantities, num_tokens], of every token of every text but its first, text after text.
    Returns: float64 [num_texts, 2 * num_quantities], see `make_token_rater`.
    """
    found = np.empty((len(texts), len(values), 2))
    lengths = [len(text.ids) - 1 for text in texts]
    for number, (text, own) in enumerate(zip(texts, values.double().split(lengths, dim=1), strict=True)):
        assert isinstance(text, LossText)
        for column, of_quantity in enumerate(own.numpy()):
            found[number, column] = of_quantity[text.scored[1:]].sum(), of_quantity.sum()
    return found.reshape(len(texts), -1)


@torch.inference_mode()
def head_alone(model: Any) -> Any | None:
    """The output head, where nothing but it stands between the last hidden state and the logits; else None.

    Some models scale or cap their logits; that is seen on a few tokens.
    """
    head = model.get_output_embeddings()
    ids = torch.arange(PROBE_TOKENS, device=model.device)[None] % model.config.get_text_config().vocab_size
    hidden = getattr(model.base_model(input_ids=ids, use_cache=False), "last_hidden_state", None)
    if head is None or hidden is None or model.base_model is model:
        return None
    return head if torch.equal(head(hidden), model(input_ids=ids, use_cache=False).logits) else None
