"""A rater at work: in this process, in several forked ones on a CPU, or in a process for each GPU.

The stage asks what the model is and gives batches; in how many copies the model stands, and where, is decided here.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from selectit.config import ModelConfig, Quantization
from selectit.inference.ahead import ahead
from selectit.inference.batch import Batch, Rater
from selectit.inference.load import (
    is_offloaded,
    load_model,
    load_skeleton,
    num_embeddings,
    placement,
    refuse_not_finite,
    take_gpu,
)
from selectit.inference.quantised import bitsandbytes_config, method_of, told_dtype
from selectit.inference.workers import Workers, counted_processes, how_to_start, in_order

IF_KILLED = (
    "a scoring process was killed, most likely for memory; what is scored is kept. "
    "Run again with score.num_processes=1 or a smaller score.batch_tokens."
)
PROBE_TOKENS = 8


@dataclass(frozen=True)
class RaterFacts:
    """What a score or losses stage says of its model."""

    rater: str
    """The path: packed, stock or vllm."""
    dtype: str
    device: str
    """The kind, such as cuda."""
    num_parameters: int
    placement: list[str]
    """Where its weights lie."""
    is_offloaded: bool
    context: int | None
    """Tokens that the model was made for."""
    reads_alone: bool = False
    """Texts of different lengths are read one at a time, for padding would change their numbers."""
    engine: str | None = None
    """With its version, where another Python rates: such as vllm 0.32.0."""


class Loaded(Protocol):
    """What rates, ready to: `LoadedRater`, or `selectit.inference.vllm_rater.LoadedVllm`."""

    facts: RaterFacts
    pads: bool
    num_processes: int

    def __enter__(self) -> Loaded: ...

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...

    def plan(self, batches: Iterator[Batch]) -> Iterator[Batch]: ...

    def rate(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]: ...


class LoadedRater:
    """A model and what rates with it; its processes stay until it is closed.

    Args:
        config: the model.
        make: the rater of a loaded model; picklable, for the process of another GPU calls it too.
        wanted: processes, as `selectit.inference.workers.most_processes` has it.
    Raises: UserError where the model's logits are not finite, whatever it reads.
    """

    def __init__(
        self,
        config: ModelConfig,
        make: Callable[[PreTrainedModel], Rater],
        wanted: int | None,
        quantization: Quantization = "none",
    ) -> None:
        self._config, self._make, self._quantization = config, make, quantization
        self._wanted = 1 if config.device_map == "auto" else wanted  # one copy has all devices
        model = load_model(config, quantization=bitsandbytes_config(quantization, config))
        is_quantised = quantization != "none" or method_of(config) is not None
        refuse_without_numbers(model)
        self._rater: Any = make(model)
        self._device = model.device
        self._workers: Workers[Batch, np.ndarray] | None = None
        self.pads: bool = self._rater.pads
        self.facts = RaterFacts(
            rater=self._rater.name,
            dtype=told_dtype(model.dtype, quantization, config),
            device=model.device.type,
            # packed weights are fewer numbers than the model has parameters
            num_parameters=sum(p.numel() for p in (load_skeleton(config) if is_quantised else model).parameters()),
            placement=placement(model),
            is_offloaded=is_offloaded(model),
            context=getattr(model.config, "max_position_embeddings", None),
            reads_alone=getattr(self._rater, "reads_alone", False),
        )
        self.num_processes = 1

    def __enter__(self) -> LoadedRater:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._workers is not None:
            self._workers.close()

    def plan(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Settle the number of processes by the work that there is. Returns: the same batches."""
        self.num_processes, batches = counted_processes(batches, self._device, self._wanted)
        return batches

    def rate(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Each batch with what the rater says of its texts, in the order in which they come; batches are made in a
        thread meanwhile.

        Raises: what the rater raises; RuntimeError where a process was killed.
        """
        if self.num_processes > 1 and self._workers is None:
            self._workers = self._start()
        with contextlib.closing(ahead(iter(batches))) as made:
            if self.num_processes == 1:
                for batch in made:
                    yield batch, self._rater.rate(batch)
                return
            assert self._workers is not None
            yield from self._workers.run(in_order(made))

    def _start(self) -> Workers[Batch, np.ndarray]:
        if how_to_start(self._device) == "fork":
            return Workers(lambda number: self._rater.rate, self.num_processes, "fork", IF_KILLED)
        again = functools.partial(_rating, self._config, self._make, self._rater.fits, self._quantization)
        self._rater = None  # the first GPU is for its process
        gc.collect()
        torch.cuda.empty_cache()
        return Workers(again, self.num_processes, "spawn", IF_KILLED)


@torch.inference_mode()
def refuse_without_numbers(model: Any) -> None:
    """A row whose numbers overflow is a failure of its own; weights that give none for anything are found on a few
    tokens, before a pool is read.
    """
    ids = torch.arange(PROBE_TOKENS, device=model.device)[None] % num_embeddings(model)
    refuse_not_finite(model(input_ids=ids, use_cache=False).logits, model)


def _rating(
    config: ModelConfig, make: Callable[[PreTrainedModel], Any], fits: Any, quantization: Quantization, number: int
) -> Callable[[Batch], np.ndarray]:
    """What process `number` rates with, from its own copy. Args: fits: `Halving.fits`, shared by all."""
    take_gpu(number)
    rater = make(load_model(config, quantization=bitsandbytes_config(quantization, config)))
    rater.fits = fits
    return rater.rate


def rate_all(rater: Rater, batches: Iterable[Batch], num_processes: int) -> Iterator[tuple[Batch, np.ndarray]]:
    """The same for a rater in this process's memory and so many forks of it."""
    if num_processes == 1:
        for batch in batches:
            yield batch, rater.rate(batch)
        return
    workers: Workers[Batch, np.ndarray] = Workers(lambda number: rater.rate, num_processes, "fork", IF_KILLED)
    try:
        yield from workers.run(in_order(iter(batches)))
    finally:
        workers.close()
