"""From requests to batches: rows that start alike stand together, so that what they share is computed once.

The batches follow from the requests and the limits alone, not from what is done already or from the number of
processes: the same request is always computed in the same company, and so to the same last digit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import torch

from selectit.inference.batch import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, Batch, Limits, cut
from selectit.inference.requests import Generation, GenerationSettings, Ids, Request


def limits(device: torch.device, batch_size: int | None) -> Limits:
    """Args: batch_size: rows at most; None: as many as the limits on tokens allow."""
    if device.type == "cuda":  # counted from launches and FLOPs of a 7B model, not measured
        return Limits(batch_size or 64, GPU_BATCH_TOKENS, cached_tokens=65536, shared_tokens=2048, step_tokens=512)
    return Limits(batch_size or 32, CPU_BATCH_TOKENS, cached_tokens=16384, shared_tokens=64, step_tokens=16)


def plan(requests: Sequence[Request], limits: Limits, share: bool) -> list[Batch[Request]]:
    """Args: requests: each once; share: False where the model cannot go on from cached keys and values."""
    by_settings: dict[GenerationSettings | None, dict[Ids, list[Request]]] = {}
    for request in requests:
        by_settings.setdefault(request.settings, {}).setdefault(request.ids, []).append(request)
    batches = []
    for settings, alike in by_settings.items():
        num_new = 0 if settings is None else settings.max_new_tokens
        open_tokens = {ids: max(request.num_open for request in same) for ids, same in alike.items()}
        cost = _group_cost(limits, max(map(len, alike)), settings) if share else None
        for prefix, rows in _groups(open_tokens, cost):
            ordered = sorted(rows, key=lambda ids: (-len(ids), ids))  # longest first: memory is found wanting at once
            members = [request for ids in ordered for request in alike[ids]]
            batches += [Batch(part, prefix) for part in cut(members, _evenly(members, limits), len(prefix), num_new)]
    return batches


class ByPrefix:
    """Hands batches to several processes: those with the same prefix to the same one where possible, so that each
    prefix is computed once.
    """

    def __init__(self, batches: Sequence[Batch[Request]]) -> None:
        self._queues: dict[Ids, deque[Batch[Request]]] = {}
        for batch in batches:
            self._queues.setdefault(batch.prefix, deque()).append(batch)
        self._untouched = deque(self._queues)

    def take(self, last: Batch[Request] | None) -> Batch[Request] | None:
        """One with the prefix of the last, else of a prefix that no process has, else of what is most left."""
        prefix = None if last is None else last.prefix
        if prefix is None or not self._queues[prefix]:
            if self._untouched:
                prefix = self._untouched.popleft()
            else:
                prefix = max(self._queues, key=lambda one: len(self._queues[one]), default=None)
        if prefix is None or not self._queues[prefix]:
            return None
        return self._queues[prefix].popleft()


def _group_cost(limits: Limits, longest: int, settings: GenerationSettings | None) -> Callable[[int], float]:
    """Of so many rows in batches of their own, in tokens read."""
    if settings is None:
        return lambda num_rows: limits.shared_tokens
    new = settings.max_new_tokens
    full = max(1, min(limits.rows, limits.cached_tokens // (longest + new)))  # rows of a full batch
    return lambda num_rows: limits.shared_tokens + (-num_rows % full) / full * new * limits.step_tokens


def _evenly(requests: Sequence[Request], limits: Limits) -> Limits:
    """Such that parts have about equal numbers of rows."""
    num_parts = -(-len(requests) // limits.rows)
    generates = isinstance(requests[0], Generation)  # which is bound by what it holds, not by what it reads
    return replace(limits, rows=-(-len(requests) // num_parts), tokens=inf if generates else limits.tokens)


@dataclass
class _Node:
    """Rows that follow each other in order and share their first `depth` tokens."""

    depth: int
    start: int
    saved: float = 0
    groups: list[tuple[int, int, int]] = field(default_factory=list)
    """(tokens shared, first row, last row + 1) of the best division found so far."""


def _groups(open_tokens: dict[Ids, int], cost: Callable[[int], float] | None) -> Iterator[tuple[Ids, list[Ids]]]:
    """Groups of rows with the tokens that each group shares, such that most tokens are saved; last the ungrouped.

    Args:
        open_tokens: of each row, how many at its end are not to be shared.
        cost: of a group of so many rows, in tokens; None: no groups.
    """
    rows = sorted(open_tokens)
    best = _best_division([ids[: len(ids) - open_tokens[ids]] for ids in rows], cost) if cost is not None else []
    grouped = {at for _, start, end in best for at in range(start, end)}
    for depth, start, end in best:
        yield rows[start][:depth], rows[start:end]
    if len(grouped) < len(rows):
        yield (), [ids for at, ids in enumerate(rows) if at not in grouped]


def _best_division(rows: Sequence[Ids], cost: Callable[[int], float]) -> list[tuple[int, int, int]]:
    """Walks the tree of common prefixes of sorted rows from its leaves up: a node is a group if that saves more
    than the groups below it.
    """
    open_nodes = [_Node(depth=0, start=0)]
    for at, row in enumerate(rows):
        depth = _num_common(row, rows[at + 1]) if at + 1 < len(rows) else 0
        start = at
        closed: _Node | None = None
        while open_nodes[-1].depth > depth:
            node = open_nodes.pop()
            _adopt(node, closed)
            own = (at - node.start) * node.depth - cost(at + 1 - node.start)
            if own > node.saved:
                node.saved, node.groups = own, [(node.depth, node.start, at + 1)]
            closed, start = node, node.start
        if open_nodes[-1].depth < depth:
            open_nodes.append(_Node(depth, start))
        _adopt(open_nodes[-1], closed)
    return open_nodes[0].groups


def _adopt(node: _Node, closed: _Node | None) -> None:
    if closed is not None:
        node.saved += closed.saved
        node.groups += closed.groups


def _num_common(one: Ids, other: Ids) -> int:
    pairs: Iterable[tuple[int, int]] = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
