"""What rates: token ids of rating texts in, next-token probabilities of the ratings out.

Two paths stand behind `Rater`: the stock model, for every architecture, and the packed one, for models of
the LLaMA family. `make_rater` takes the packed one where it is known to give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from selectit.inference.batch import Rater


def make_rater(model: PreTrainedModel, rating_ids: Sequence[int]) -> Rater:
    from selectit.inference.packed import PackedRater, obstacle
    from selectit.inference.padded import StockRater

    if obstacle(model) is None:
        return PackedRater(model, rating_ids)
    return StockRater(model, rating_ids)
