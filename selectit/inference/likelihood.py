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
def read_ends(
    model: PreTrainedModel | PeftModel,
    shared: SharedPrefix,
    requests: Sequence[Likelihood | FirstTokens],
    prefix: Ids,
) -> list[Answer]:
    """One forward pass, and what each request asks of the last `num_open` positions of its row.

    Raises: torch.OutOfMemoryError, on CPU RuntimeError, where the batch does not fit into memory; UserError where
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
    lengths = [request.num_open for request in requests]
    log_probs, greedy = chosen.log_softmax(dim=-1).split(lengths), chosen.argmax(dim=-1).split(lengths)
    return [_answer(*of_row) for of_row in zip(requests, log_probs, greedy, strict=True)]


def _answer(request: Likelihood | FirstTokens, log_probs: torch.Tensor, greedy: torch.Tensor) -> Answer:
    """Args: log_probs: [num_open, vocabulary]; greedy: [num_open], the most probable tokens."""
    if isinstance(request, FirstTokens):
        values, tokens = log_probs[0].topk(min(request.most, log_probs.shape[1]))
        pairs = zip(tokens.tolist(), values.tolist(), strict=True)
        return Answer([[token, value] for token, value in pairs], len(request.ids) + 1)
    found = [_score(log_probs, greedy.tolist(), continuation) for continuation in request.continuations]
    return Answer(found, len(request.ids) + sum(map(len, request.continuations)))


def _padded(rows: Sequence[Ids]) -> torch.Tensor:
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):  # causal attention never sees padding on the right
        padded[number, : len(row)] = torch.tensor(row)
    return padded


def _score(log_probs: torch.Tensor, greedy: list[int], continuation: Ids) -> list[Any]:
    end = len(greedy)
    start = end - len(continuation)
    total = float(log_probs[range(start, end), list(continuation)].sum())
    return [total, greedy[start:] == list(continuation)]


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
