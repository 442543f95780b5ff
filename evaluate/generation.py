"""Text generation by transformers' own `generate`, each distinct prompt read once and each row stopped by itself.

lm-eval's stop criterion ends a batch when all rows hold the same stop string; until then finished rows go on.
Here a row ends with its own first stop string. The text is cut there in both cases, so it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lm_eval.models.utils import postprocess_generated_text
from transformers import (
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from selectit.evaluate.prefix import SharedPrefix, accepts
from selectit.evaluate.requests import Answer, Generation, Ids
from selectit.evaluate.sampling import sampling


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    decode: Callable[[list[int]], str],
    shared: SharedPrefix | None,
    requests: Sequence[Generation],
    prefix: Ids,
) -> list[Answer]:
    """Args:   shared: None where the model cannot go on from a cache; requests: of equal settings.
    Raises: torch.OutOfMemoryError, on CPU RuntimeError, where the batch does not fit into memory.
    """
    settings, device = requests[0].settings, model.device
    distinct = {ids: number for number, ids in enumerate(dict.fromkeys(request.ids for request in requests))}
    tokens, mask = _padded(list(distinct), prefix, tokenizer.pad_token_id, device)
    row = torch.tensor([distinct[request.ids] for request in requests], device=device)
    arguments: dict[str, Any] = {}
    if shared is not None and (prefix or len(distinct) < len(requests)):
        arguments["past_key_values"] = _read(model, shared, prefix, tokens, mask, row)
    if settings.temperature > 0:
        arguments["logits_processor"] = sampling(requests, device)
    tokens, mask = tokens[row], mask[row]
    start = tokens.shape[1]
    found = model.generate(
        input_ids=tokens,
        attention_mask=mask,
        max_length=start + settings.max_new_tokens,
        do_sample=False,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
        stopping_criteria=StoppingCriteriaList([_RowStops(tokenizer, decode, settings.stop, start, len(requests))]),
        **arguments,
    )
    answers = []
    for request, new in zip(requests, found[:, start:].tolist(), strict=True):
        text = postprocess_generated_text(decode(new), list(settings.stop), None)
        num_new = sum(token != tokenizer.pad_token_id for token in new)
        answers.append(Answer(text, len(request.ids) + num_new))
    return answers


def _padded(rows: Sequence[Ids], prefix: Ids, pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, [num_rows, longest] each: prefix, padding, and the rest of each row."""
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for number, ids in enumerate(rows):
        for part, start in ((prefix, 0), (ids[len(prefix) :], longest - len(ids) + len(prefix))):
            tokens[number, start : start + len(part)] = torch.tensor(part, dtype=torch.long)
            mask[number, start : start + len(part)] = 1
    return tokens.to(device), mask.to(device)


def _read(
    model: Any, shared: SharedPrefix, prefix: Ids, tokens: torch.Tensor, mask: torch.Tensor, row: torch.Tensor
) -> Any:
    """The cache of all but the last token of each row, where a row may stand several times."""
    cache = shared.to_grow(prefix, len(tokens))
    unread = slice(len(prefix), tokens.shape[1] - 1)  # the last token is `generate`'s own to read
    if tokens[:, unread].shape[1]:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        arguments: dict[str, Any] = {"attention_mask": mask[:, :-1]}
        if accepts(model, "position_ids"):
            arguments["position_ids"] = positions[:, unread]
        if accepts(model, "logits_to_keep"):
            arguments["logits_to_keep"] = 1
        cache = model(input_ids=tokens[:, unread], past_key_values=cache, use_cache=True, **arguments).past_key_values
    if len(row) > len(tokens):
        cache.batch_select_indices(row)
    return cache


def ending(stop: Sequence[str]) -> list[str]:
    """The stop strings that end a row where they are found; the text is cut at the first of them all."""
    # one inside of another would end the row before the other, which begins earlier, is whole
    return [one for one in stop if one and not any(one in other[1:] for other in stop)]


class _RowStops(StoppingCriteria):
    """True for each row whose new text holds a stop string."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        decode: Callable[[list[int]], str],
        stop: Sequence[str],
        start: int,
        num_rows: int,
    ) -> None:
        self._tokenizer, self._decode, self._start = tokenizer, decode, start
        self._stop = ending(stop)
        lengths = [len(tokenizer.encode(one, add_special_tokens=False)) for one in self._stop]
        self._num_looked_at = max(lengths, default=0) + 2  # written by a model it may be more tokens
        self._done = [False] * num_rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        new = input_ids[:, self._start :]
        ends = self._tokenizer.batch_decode(new[:, -self._num_looked_at :])
        for number, end in enumerate(ends):
            if not self._done[number] and any(one in end for one in self._stop):
                text = self._decode(new[number].tolist())  # an end alone may decode otherwise than within its text
                self._done[number] = any(one in text for one in self._stop)
        return torch.tensor(self._done, device=input_ids.device)
