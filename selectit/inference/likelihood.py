"""Log-probabilities of continuations and of first tokens: rows right-padded behind their shared prefix, and logits only
where they are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from selectit.inference.load import refuse_not_finite
from selectit.inference.prefix import SharedPrefix, accepts
from selectit.inference.requests import Answer, FirstTokens, Ids, Likelihood


@torch.no_grad()
def log_likelihoods(
    model: PreTrainedModel | PeftModel, shared: SharedPrefix, requests: Sequence[Likelihood], prefix: Ids
) -> list[Answer]:
    """Raises: torch.OutOfMemoryError, on CPU RuntimeError, where the batch does not fit into memory; UserError where
    logits are not finite.
    """
    rows = [request.ids[len(prefix) :] for request in requests]
    wanted = [range(len(row) - request.num_open, len(row)) for row, request in zip(rows, requests, strict=True)]
    logits, place = _logits(
        model, shared, _padded(rows), prefix, sorted({position for span in wanted for position in span})
    )
    owner = [number for number, span in enumerate(wanted) for _ in span]
    column = [place[position] for span in wanted for position in span]
    chosen = logits[owner, column].float()  # [sum of num_open, vocabulary]
    refuse_not_finite(chosen, model)
    log_probs = chosen.log_softmax(dim=-1)
    greedy = chosen.argmax(dim=-1).tolist()
    answers, end = [], 0
    for request in requests:
        end += request.num_open
        values = [_score(log_probs, greedy, end, continuation) for continuation in request.continuations]
        answers.append(Answer(values, len(request.ids) + sum(map(len, request.continuations))))
    return answers


@torch.no_grad()
def first_tokens(
    model: PreTrainedModel | PeftModel, shared: SharedPrefix, requests: Sequence[FirstTokens], prefix: Ids
) -> list[Answer]:
    """Raises: as `log_likelihoods`."""
    rows = [request.ids[len(prefix) :] for request in requests]
    last = [len(row) - 1 for row in rows]
    logits, place = _logits(model, shared, _padded(rows), prefix, sorted(set(last)))
    chosen = logits[range(len(rows)), [place[position] for position in last]].float()  # [num_rows, vocabulary]
    refuse_not_finite(chosen, model)
    log_probs = chosen.log_softmax(dim=-1)
    answers = []
    for request, row in zip(requests, log_probs, strict=True):
        values, tokens = row.topk(min(request.most, len(row)))
        found = [[token, value] for token, value in zip(tokens.tolist(), values.tolist(), strict=True)]
        answers.append(Answer(found, len(request.ids) + 1))
    return answers


def _padded(rows: Sequence[Ids]) -> torch.Tensor:
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):  # causal attention never sees padding on the right
        padded[number, : len(row)] = torch.tensor(row)
    return padded


def _score(log_probs: torch.Tensor, greedy: list[int], end: int, continuation: Ids) -> list[Any]:
    start = end - len(continuation)
    total = float(log_probs[range(start, end), list(continuation)].sum())
    return [total, greedy[start:end] == list(continuation)]


def _logits(
    model: Any, shared: SharedPrefix, padded: torch.Tensor, prefix: Ids, positions: list[int]
) -> tuple[torch.Tensor, dict[int, int]]:
    """Logits [batch, >= len(positions), vocabulary] and where in their second axis each position stands."""
    arguments: dict[str, Any] = {"input_ids": padded.to(model.device)}
    if prefix:
        arguments |= {"past_key_values": shared.to_read(prefix, len(padded)), "use_cache": True}
    elif accepts(model, "use_cache"):
        arguments["use_cache"] = False
    if accepts(model, "logits_to_keep"):
        logits = model(**arguments, logits_to_keep=torch.tensor(positions, device=model.device)).logits
        return logits, {position: at for at, position in enumerate(positions)}
    logits = model(**arguments).logits
    learned = logits.shape[1] - padded.shape[1]  # prompt tokens that an adapter puts in front
    return logits, {position: position + learned for position in positions}
