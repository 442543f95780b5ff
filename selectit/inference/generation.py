"""Text generation by transformers' own `generate`, each distinct prompt read once and each row stopped by itself.

lm-eval's stop criterion ends a batch when all rows hold the same stop string; until then finished rows go on.
Here a row ends with its own first stop string or end token. The text is cut there in both cases, so it is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from selectit.inference.answer_end import AnswerEnd, Decode
from selectit.inference.load import num_embeddings, refuse_not_finite
from selectit.inference.prefix import SharedPrefix, accepts
from selectit.inference.requests import Answer, Generation, Ids
from selectit.inference.sampling import sampling


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    decode: Decode,
    shared: SharedPrefix | None,
    requests: Sequence[Generation],
    prefix: Ids,
) -> list[Answer]:
    """Args:   shared: None where the model cannot go on from a cache; requests: of equal settings.
    Raises: torch.OutOfMemoryError, on CPU RuntimeError, where the batch does not fit into memory; UserError where
            logits are not finite.
    """
    settings, device = requests[0].settings, model.device
    distinct = {ids: number for number, ids in enumerate(dict.fromkeys(request.ids for request in requests))}
    pad = min(tokenizer.pad_token_id, num_embeddings(model) - 1)  # it is never attended to, but it must have a row
    tokens, mask = _padded(list(distinct), prefix, pad, device)
    row = torch.tensor([distinct[request.ids] for request in requests], device=device)
    arguments: dict[str, Any] = {}
    if shared is not None and (prefix or len(distinct) < len(requests)):
        arguments["past_key_values"] = _read(model, shared, prefix, tokens, mask, row)
    sampled = sampling(requests, device) if settings.temperature > 0 else []
    end = AnswerEnd(decode, settings)
    tokens, mask = tokens[row], mask[row]
    start = tokens.shape[1]
    stops = _RowStops(tokenizer, end, settings.stop, start, len(requests))
    found = model.generate(
        input_ids=tokens,
        attention_mask=mask,
        max_length=start + settings.max_new_tokens,
        do_sample=False,
        use_cache=True,
        pad_token_id=pad,
        eos_token_id=list(settings.ends) or None,
        logits_processor=LogitsProcessorList([_RefuseNotFinite(model), *sampled]),
        stopping_criteria=StoppingCriteriaList([stops]),
        **arguments,
    )
    answers = []
    for request, new, length in zip(requests, found[:, start:].tolist(), stops.lengths, strict=True):
        ended = end.read(new[:length])
        answers.append(Answer(ended.text, len(request.ids) + ended.num_tokens, ended.ending))
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


class _RefuseNotFinite(LogitsProcessor):
    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        refuse_not_finite(scores, self._model)
        return scores


class _RowStops(StoppingCriteria):
    """True for each row that has written an end token or whose new text holds a stop string.

    `lengths` are the new tokens of each row until then; None: it has not ended.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, end: AnswerEnd, stop: Sequence[str], start: int, num_rows: int
    ) -> None:
        self._tokenizer, self._end, self._start, self._stop = tokenizer, end, start, [one for one in stop if one]
        lengths = [len(tokenizer.encode(one, add_special_tokens=False)) for one in self._stop]
        self._num_looked_at = max(lengths, default=0) + 2  # written by a model it may be more tokens
        self.lengths: list[int | None] = [None] * num_rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        new = input_ids[:, self._start :]
        tails = self._tokenizer.batch_decode(new[:, -self._num_looked_at :]) if self._stop else None
        for number, last in enumerate(new[:, -1].tolist()):
            if self.lengths[number] is None and (self._end.is_end(last) or self._has_stopped(tails, number, new)):
                self.lengths[number] = new.shape[1]
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)

    def _has_stopped(self, tails: list[str] | None, number: int, new: torch.Tensor) -> bool:
        # a tail alone may decode otherwise than within its text
        found = tails is not None and any(one in tails[number] for one in self._stop)
        return found and self._end.holds_stop(new[number].tolist())
