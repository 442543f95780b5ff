"""The order in which rows are trained on.

Which rows share an optimiser step is a seeded shuffle; within a step they go by length, so that the rows
of one forward pass need little padding. The loss of a step is one mean over its tokens: its order is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class StepSampler(Sampler[int]):
    """Yields row positions, one epoch at a time.

    Args:
        lengths: tokens of each row.
        global_batch_size: rows of one optimiser step.
        seed: of the shuffle, together with the epoch.
        epoch: the running epoch, counted from 0; asked for when an epoch begins, so a resumed one keeps its order.
    """

    def __init__(self, lengths: Sequence[int], global_batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._global_batch_size = lengths, global_batch_size
        self._seed, self._epoch = seed, epoch

    def __iter__(self) -> Iterator[int]:
        # numbers of both arguments in one: seeds that differ by 1 must not share epochs
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch())
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        for start in range(0, len(order), self._global_batch_size):
            step = order[start : start + self._global_batch_size]
            yield from sorted(step, key=lambda index: -self._lengths[index])  # longest first: memory shows early

    def __len__(self) -> int:
        return len(self._lengths)
