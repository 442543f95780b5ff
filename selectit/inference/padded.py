"""Rating as transformers computes a model: any architecture, texts left-padded to the longest; or one at a time
where padding or other texts would change a model's numbers, which is tried on the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from selectit.errors import UserError
from selectit.inference.batch import PADDED_PATH, Batch, Text
from selectit.inference.probabilities import rating_probabilities, uniform_context
from selectit.inference.quantised import is_quantised, rounds_with_others

PROBE_LENGTHS = (3, 11)
SAME, SAME_IN_HALF = 1e-4, 0.05
"""Largest relative difference of logits that rounding makes between a text alone and the same with others."""
UNTOUCHED, UNTOUCHED_IN_HALF = 1e-5, 1e-2
"""The same where nothing but what stands in the padding changes: shapes and kernels are alike, and masked tokens weigh
nothing. A mixture of experts sorts the tokens otherwise, which rounds otherwise.
"""
SAME_WITH_OTHERS = 0.25
"""The same under LLM.int8, which rounds a token by what else is read: 0.03 to 0.11 on SmolLM2."""


class PaddedRater:
    name = PADDED_PATH
    pads = True

    def __init__(self, model: Any, rating_ids: Sequence[int]) -> None:
        self._model, self._rating_ids = model, list(rating_ids)
        self._accepted = set(inspect.signature(model.forward).parameters)
        self._uniform = uniform_context(model)
        self._growing = [module for module in model.modules() if getattr(module, "rope_type", None) == "dynamic"]
        self.reads_alone = self._probe()

    def rate(self, batch: Batch[Text]) -> np.ndarray:
        texts, longest = batch.items, max(len(text.ids) for text in batch.items)
        if len(texts) > 1 and (self.reads_alone or (self._uniform is not None and longest >= self._uniform)):
            return np.concatenate([self._forward([text]) for text in texts])
        try:
            return self._forward(texts)
        except IndexError as error:  # learned positions end at the context, rotary ones do not
            context = getattr(self._model.config, "max_position_embeddings", None)
            raise UserError(
                f"{self._model.name_or_path} cannot read a text of {longest} tokens (its context is "
                f"{context}); set score.max_length to at most {context}: longer responses then lose their end"
            ) from error

    @torch.inference_mode()
    def _forward(self, texts: Sequence[Text]) -> np.ndarray:
        return rating_probabilities(self.next_logits([text.ids for text in texts]), self._rating_ids)

    def next_logits(self, rows: Sequence[np.ndarray], filling: int = 0) -> torch.Tensor:
        """[len(rows), vocabulary], after the last token of each. Args: filling: the id that stands in the padding."""
        self._forget_longer_texts()
        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), filling, dtype=torch.long)  # [batch, longest]
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, longest - len(row) :] = torch.as_tensor(row)
            mask[number, longest - len(row) :].fill_(1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        arguments = {n: value.to(self._model.device) for n, value in arguments.items() if n in self._accepted}
        if "logits_to_keep" in self._accepted:
            arguments["logits_to_keep"] = 1
        logits: torch.Tensor = self._model(**arguments, use_cache=False).logits[:, -1]
        return logits.float()

    @torch.inference_mode()
    def _probe(self) -> bool:
        """Try on a few tokens how the model must be asked. It is asked without position ids where its own are others.

        Returns: whether a short text has other logits behind padding than alone, or others with another id in the
            padding: recurrent models run over the padding, some count positions from the first token on, and LLM.int8
            rounds a text by what else is in its batch.
        Raises: UserError where later tokens change what stands before them.
        """
        vocabulary = self._model.config.get_text_config().vocab_size
        # not the first ids, which may be of padding: some models count positions by them
        short, long = ((vocabulary // 2 + np.arange(length)) % vocabulary for length in PROBE_LENGTHS)
        half = self._model.dtype not in (torch.float32, torch.float64) or is_quantised(self._model)
        same = SAME_WITH_OTHERS if rounds_with_others(self._model) else SAME_IN_HALF if half else SAME
        untouched = UNTOUCHED_IN_HALF if half else UNTOUCHED
        [plain] = self._all_logits(short)[None, -1]
        size = float(plain.abs().max()) or 1.0

        def differ(one: torch.Tensor, two: torch.Tensor, by: float) -> bool:
            return not float((one - two).abs().max()) / size <= by  # NaN too

        if differ(self._all_logits(np.append(short, short[0]))[len(short) - 1], plain, same):
            raise UserError(
                f"{self._model.name_or_path} ({type(self._model).__name__}) is not a causal language model as it is "
                "configured: what it says of a token changes with the tokens behind it, so there is no next token to "
                "read a rating from. Rate with another model"
            )
        if rounds_with_others(self._model):
            return True
        if differ(self.next_logits([short])[0], plain, untouched):
            self._accepted = self._accepted - {"position_ids"}
        [alone] = self.next_logits([short])
        behind, other = (self.next_logits([short, long], filling)[0] for filling in (0, vocabulary - 1))
        return differ(behind, alone, same) or differ(behind, other, untouched)

    def _all_logits(self, row: np.ndarray) -> torch.Tensor:
        """[len(row), vocabulary], of one text without anything around it."""
        ids = torch.as_tensor(row[None].astype(np.int64)).to(self._model.device)
        logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits[0]
        return logits.float()

    def _forget_longer_texts(self) -> None:
        """transformers keeps the frequencies of the longest text so far; each text is to have its own."""
        for rope in self._growing:
            rope.inv_freq = rope.original_inv_freq
            rope.max_seq_len_cached = rope.original_max_seq_len
