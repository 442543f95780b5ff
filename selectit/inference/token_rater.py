"""What is asked of every token of a text: one forward pass gives all that is wanted, such as losses, entropies and
the text's features.

The same two paths as for ratings: packed rows for models of the LLaMA family, the padded one for all others. The
output head meets some hundred positions at a time, so that the logits of a whole batch never stand in memory. A new
quantity is a function like `loss`, added to those that a stage asks for; a vector is one of `pooling.py`'s.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from selectit.config import Pooling
from selectit.inference.batch import Batch, LossText, Text
from selectit.inference.kernels import linear
from selectit.inference.loaded import Rater
from selectit.inference.packed import PackedRater, obstacle
from selectit.inference.padded import PaddedRater
from selectit.inference.pooling import pooled, position_sums

LOGITS_AT_ONCE = 2**24
"""Elements of the logits that are computed together: 64 MiB in float32, 524 positions of a vocabulary of 32,000."""
CPU_LOGITS_READ = 2**17
"""Elements of the logits that are read together on a CPU: 512 KiB, which stay in its cache from one quantity to the
next. With a vocabulary of 49,152, loss and entropy then took as long as the loss alone did over all of them."""
LEAST_LOG_PROBABILITY = -1e4
"""So that a token of probability 0 adds 0 to an entropy, not 0 times infinity."""
PROBE_TOKENS = 8


@dataclass(frozen=True)
class Predictions:
    """What a model says in front of some tokens, and which tokens they are."""

    logits: torch.Tensor  # float32 [num_tokens, vocabulary]
    targets: torch.Tensor  # [num_tokens]

    @cached_property
    def log_total(self) -> torch.Tensor:
        """[num_tokens]: log-probabilities are logits minus it."""
        return self.logits.logsumexp(dim=1)


Quantity = Callable[[Predictions], torch.Tensor]
"""One number for each token: [num_tokens]."""


def loss(found: Predictions) -> torch.Tensor:
    """A `Quantity`: negative log-likelihood by a softmax over the vocabulary, in nats."""
    return found.log_total - found.logits.gather(1, found.targets[:, None])[:, 0]


def entropy(found: Predictions) -> torch.Tensor:
    """A `Quantity`: that of the softmax over the vocabulary, in nats.

    Source: InstructDiff (28adfe3), scoring.py.
    """
    log_probabilities = (found.logits - found.log_total[:, None]).clamp_(min=LEAST_LOG_PROBABILITY)
    return -torch.linalg.vecdot(log_probabilities.exp(), log_probabilities)


def make_token_rater(model: PreTrainedModel, quantities: Sequence[Quantity], poolings: Sequence[Pooling] = ()) -> Rater:
    """Its `rate` gives float64 [num_texts, 2 * len(quantities) + len(poolings) * width]: of each quantity the sum over
    the scored tokens of a text, and over all tokens but the first; then the vector of each pooling.
    """
    if obstacle(model) is None:
        return PackedTokenRater(model, quantities, poolings)
    return PaddedTokenRater(model, quantities, poolings)


class PaddedTokenRater(PaddedRater):
    """Any architecture, texts right-padded to the longest."""

    def __init__(self, model: Any, quantities: Sequence[Quantity], poolings: Sequence[Pooling] = ()) -> None:
        super().__init__(model, ())
        self._quantities, self._poolings = quantities, poolings
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
        options = {"use_cache": False}
        if self._head is None and self._poolings:
            options["output_hidden_states"] = True
        found = self._body(**arguments, **options)
        predicted = mask[:, 1:].bool()
        states = (found.logits if self._head is None else found.last_hidden_state)[:, :-1][predicted]
        head = self._head or torch.nn.Identity()
        numbers = sums(of_tokens(self._quantities, states, ids[:, 1:][predicted], head, self._vocabulary), texts)
        if not self._poolings:
            return numbers
        hidden = found.hidden_states[-1] if self._head is None else found.last_hidden_state
        lengths = [len(text.ids) for text in texts]
        own = [row[:length] for row, length in zip(hidden, lengths, strict=True)]  # no padding is pooled
        last = torch.stack([row[-1] for row in own])
        return np.concatenate([numbers, pooled(self._poolings, position_sums(own), last, lengths)], axis=1)

    @property
    def _vocabulary(self) -> int:
        return self._model.config.get_text_config().vocab_size


class PackedTokenRater(PackedRater):
    """The LLaMA family, texts behind one another; what they share at their start is computed once."""

    def __init__(self, model: Any, quantities: Sequence[Quantity], poolings: Sequence[Pooling] = ()) -> None:
        super().__init__(model, ())
        self._quantities, self._poolings = quantities, poolings
        self._none = torch.empty(len(quantities), 0), torch.zeros(1, device=model.device)
        self._shared: tuple[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = ((), self._none)

    @torch.inference_mode()
    def rate(self, batch: Batch[Text]) -> np.ndarray:
        shared, shared_sums = self._of_prefix(batch.prefix)
        before = batch.prefix[:-1]
        values, states = self._read([text.ids for text in batch.items], before)
        lengths = [len(text.ids) - max(len(batch.prefix), 1) for text in batch.items]
        whole = [part for own in values.split(lengths, dim=1) for part in (shared, own)]
        numbers = sums(torch.cat(whole, dim=1), batch.items)
        if not self._poolings:
            return numbers
        own_sums, last = position_sums(states, len(before)), torch.stack([own[-1] for own in states])
        vectors = pooled(self._poolings, shared_sums + own_sums, last, [len(text.ids) for text in batch.items])
        return np.concatenate([numbers, vectors], axis=1)

    def _of_prefix(self, prefix: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the prefix's own tokens but the first: [num_quantities, max(len(prefix) - 1, 0)]; of its tokens but the
        last, for that one stands in each row, what `position_sums` gives.
        """
        if prefix != self._shared[0]:
            own = self._none
            if len(prefix) > 1:
                values, [states] = self._read([np.array(prefix)], ())
                own = values, position_sums([states[:-1]]) if self._poolings else self._none[1]
            self._shared = (prefix, own)
        return self._shared[1]

    def _read(self, rows: Sequence[np.ndarray], prefix: tuple[int, ...]) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Args: prefix: token ids with which every row starts; the last shared token stands in each row, for what it
            predicts is the row's own.
        Returns: of the tokens that follow the first own one of each row, row after row, [num_quantities, num_tokens];
            and the states of each row's own tokens, [num_own, width].
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
        states = self._norm(hidden, self._model.model.norm)
        logits = functools.partial(linear, weight=head.weight, bias=head.bias)
        values = of_tokens(self._quantities, states[kept], packed.ids[targets], logits, head.out_features)
        return values, states.split([past - first for first, past in packed.spans])


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
        read = at_once if logits.is_cuda else max(1, CPU_LOGITS_READ // vocabulary)
        for part in map(Predictions, logits.split(read), wanted.split(read)):
            values.append(torch.stack([quantity(part) for quantity in quantities]))
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
