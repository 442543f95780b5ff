"""The order in which rows are trained on, the same on any number of processes.

Which rows share an optimiser step is a seeded shuffle, or follows from their scores. Within a step they go by length,
and each `micro_batch_size` of them make a forward pass; packed, as many passes take about equally many tokens each.
The passes of a step are dealt out to the processes in turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch.utils.data import Sampler


class StepOrder:
    """Which rows make up each forward pass of each optimiser step.

    Args:
        lengths: tokens of each row.
        global_batch_size: rows of an optimiser step; the last one of an epoch takes what is left.
        micro_batch_size: rows of a forward pass.
        seed: of the shuffle, together with the epoch.
        packing: the passes are to be even in tokens, not in rows.
        curriculum: the order of the rows in every epoch; default: a new shuffle for each.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        global_batch_size: int,
        micro_batch_size: int,
        seed: int,
        packing: bool = False,
        curriculum: Sequence[int] | None = None,
    ) -> None:
        self.lengths, self._packing, self._curriculum = lengths, packing, curriculum
        self._global_batch_size, self._micro_batch_size, self._seed = global_batch_size, micro_batch_size, seed
        self.steps_per_epoch = -(-len(lengths) // global_batch_size)
        self.passes = lru_cache(maxsize=1)(self._passes)
        """Epoch, counted from 0 -> row positions by step and pass."""

    def _passes(self, epoch: int) -> list[list[list[int]]]:
        # numbers of both arguments in one: seeds that differ by 1 must not share epochs
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        order = shuffled if self._curriculum is None else list(self._curriculum)
        steps = []
        for start in range(0, len(order), self._global_batch_size):
            rows = order[start : start + self._global_batch_size]
            rows.sort(key=lambda index: -self.lengths[index])  # longest first: memory shows early
            size = self._micro_batch_size
            if self._packing:
                steps.append(self._even_in_tokens(rows, num_passes=-(-len(rows) // size)))
            else:
                steps.append([rows[i : i + size] for i in range(0, len(rows), size)])
        return steps

    def sum_over_step(self, step: int, values: Sequence[int]) -> int:
        """Of the rows of a step; `step` counts from 0, through all epochs."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return sum(values[row] for rows in self.passes(epoch)[position] for row in rows)

    def _even_in_tokens(self, rows: Sequence[int], num_passes: int) -> list[list[int]]:
        """Each row, the longest first, to the pass with the fewest tokens so far."""
        passes: list[list[int]] = [[] for _ in range(num_passes)]
        loads = [(0, position) for position in range(num_passes)]
        for row in rows:
            load, position = heapq.heappop(loads)
            passes[position].append(row)
            heapq.heappush(loads, (load + self.lengths[row], position))
        return passes


class PassSampler(Sampler[list[int]]):
    """The forward passes of one process, one epoch at a time.

    A last step of an epoch that is not whole may leave processes without a row; they take `filler`, since all
    must make equally many passes.

    Args:
        order: of all rows.
        rank, num_processes: which process this is, of how many.
        filler: position of a row without labels.
        epoch: the running epoch, counted from 0; asked for when an epoch begins, so a resumed one keeps its order.
    """

    def __init__(self, order: StepOrder, rank: int, num_processes: int, filler: int, epoch: Callable[[], int]) -> None:
        self._order, self._rank, self._num_processes = order, rank, num_processes
        self._filler, self._epoch = filler, epoch

    def __iter__(self) -> Iterator[list[int]]:
        for passes in self._order.passes(self._epoch()):
            for start in range(0, len(passes), self._num_processes):
                position = start + self._rank
                yield passes[position] if position < len(passes) else [self._filler]

    def __len__(self) -> int:
        return sum(-(-len(passes) // self._num_processes) for passes in self._order.passes(0))
