"""A rater that is loaded and ready. The stage asks what it is and gives batches; which path computes them, and in how
many processes the model stands, is decided here.

What rates takes token ids of texts and gives numbers of them. Two paths stand behind `Rater`: the padded one, for every
architecture, and the packed one, for models of the LLaMA family where it is known to give the same numbers.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from selectit.config import ModelConfig, Quantization
from selectit.errors import UserError
from selectit.inference.adapters import load_adapter
from selectit.inference.ahead import ahead
from selectit.inference.batch import Batch, Text, num_tokens
from selectit.inference.load import (
    is_offloaded,
    load_model,
    load_skeleton,
    num_embeddings,
    placement,
    refuse_not_finite,
    take_gpu,
)
from selectit.inference.memory import Halving
from selectit.inference.packed import PackedRater, obstacle
from selectit.inference.padded import PaddedRater
from selectit.inference.quantised import bitsandbytes_config, dtype_text, method_of
from selectit.inference.workers import ModelWorkers, counted_processes, in_order
from selectit.store.names import ADAPTER_FOLDER, MODEL_FOLDER
from selectit.store.trained_on import check_base

IF_KILLED = (
    "a scoring process was killed, most likely for memory; what is scored is kept. "
    "Run again with score.num_processes=1 or a smaller score.batch_tokens."
)
PROBE_TOKENS = 8


class Rater(Protocol):
    name: str
    pads: bool
    """Whether a batch costs its longest text times their number, or only the tokens behind the prefix."""

    def rate(self, batch: Batch[Text]) -> np.ndarray:
        """Returns: float64 [len(batch.items), numbers of a text].
        Raises:  what `is_out_of_memory` knows, where the batch does not fit the device.
        """


def make_rater(model: PreTrainedModel, rating_ids: Sequence[int]) -> Rater:
    """Its `rate` gives the next-token probabilities of the ratings: softmax over the whole vocabulary in float32, after
    the last token of each text.
    """
    return PackedRater(model, rating_ids) if obstacle(model) is None else PaddedRater(model, rating_ids)


class FittingRater:
    """A rater, and the size of batch that it has memory for.

    Args: fits: `Halving.fits` of another one, with which this one is to share it.
    """

    def __init__(self, rater: Rater, fits: Any = None) -> None:
        self._rater = rater
        self._halving: Halving[Text] = Halving(functools.partial(num_tokens, pads=rater.pads), _too_large, fits)
        self.fits = self._halving.fits

    def read(self, batch: Batch[Text]) -> list[np.ndarray]:
        """What the rater says of each text. Raises: what it raises; UserError where a text does not fit into memory."""
        found: list[np.ndarray] = []
        for part in self._halving.parts(batch):
            with part:
                found.extend(self._rater.rate(part.batch))
        return found


@dataclass(frozen=True)
class RaterFacts:
    """What a score or losses stage says of its model."""

    rater: str
    """The path: one of `selectit.inference.batch`'s."""
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

    def plan(self, batches: Iterator[Batch[Text]]) -> Iterator[Batch[Text]]: ...

    def rate(self, batches: Iterable[Batch[Text]]) -> Iterator[tuple[Batch[Text], Iterable[np.ndarray]]]: ...


class LoadedRater:
    """A model and what rates with it; its processes stay until it is closed.

    Args:
        config: the model.
        make: the rater of a loaded model; picklable, for the process of another GPU calls it too.
        wanted: processes, as `selectit.inference.workers.most_processes` has it.
        tuned: the folder of a finished training of this model, see `load_tuned`.
    Raises: UserError where the model's logits are not finite, whatever it reads.
    """

    def __init__(
        self,
        config: ModelConfig,
        make: Callable[[PreTrainedModel], Rater],
        wanted: int | None,
        quantization: Quantization = "none",
        tuned: Path | None = None,
    ) -> None:
        self._wanted = 1 if config.device_map == "auto" else wanted  # one copy has all devices
        model = load_tuned(config, quantization, tuned)
        is_quantised = quantization != "none" or method_of(config) is not None
        refuse_without_numbers(model)
        rater: Any = make(model)
        self.pads: bool = rater.pads
        self._device = model.device
        self._reader: Any = FittingRater(rater)
        self._workers: ModelWorkers[Batch[Text], list[np.ndarray]] = ModelWorkers(
            model.device,
            lambda batch: self._reader.read(batch),
            functools.partial(_reading, config, make, self._reader.fits, quantization, tuned),
            self._give_way,
            IF_KILLED,
        )
        self.facts = RaterFacts(
            rater=rater.name,
            dtype=dtype_text(model.dtype, quantization, config),
            device=model.device.type,
            # packed weights are fewer numbers than the model has parameters
            num_parameters=sum(p.numel() for p in (load_skeleton(config) if is_quantised else model).parameters()),
            placement=placement(model),
            is_offloaded=is_offloaded(model),
            context=getattr(model.config, "max_position_embeddings", None),
            reads_alone=getattr(rater, "reads_alone", False),
        )
        self.num_processes = 1

    def __enter__(self) -> LoadedRater:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._workers.close()

    def plan(self, batches: Iterator[Batch[Text]]) -> Iterator[Batch[Text]]:
        """Settle the number of processes by the work that there is. Returns: the same batches."""
        self.num_processes, batches = counted_processes(batches, self._device, self._wanted)
        return batches

    def rate(self, batches: Iterable[Batch[Text]]) -> Iterator[tuple[Batch[Text], Iterable[np.ndarray]]]:
        """Each batch with what the rater says of its texts, in the order in which they come; batches are made in a
        thread meanwhile.

        Raises: what the rater raises; UserError where a text does not fit into memory; RuntimeError where a process
            was killed.
        """
        with contextlib.closing(ahead(iter(batches))) as made:
            if self.num_processes == 1:
                for batch in made:
                    yield batch, self._reader.read(batch)
            else:
                yield from self._workers.run(in_order(made), self.num_processes)

    def _give_way(self) -> None:
        self._reader = None


@torch.inference_mode()
def refuse_without_numbers(model: Any) -> None:
    """A row whose numbers overflow is a failure of its own; weights that give none for anything are found on a few
    tokens, before a pool is read.
    """
    ids = torch.arange(PROBE_TOKENS, device=model.device)[None] % num_embeddings(model)
    refuse_not_finite(model(input_ids=ids, use_cache=False).logits, model)


def load_tuned(config: ModelConfig, quantization: Quantization, tuned: Path | None) -> PreTrainedModel:
    """The model, or what a training made of it.

    An adapter is merged in memory in float32, so that the model takes the packed path where its base does. In half
    precision, and on quantised weights, merging would round away much of what it changes: there it stays an adapter.

    Args:   tuned: the folder of a finished training, with `adapter/` or `model/`; None: the model as it is.
    Raises: UserError where weights are absent, damaged or those of another base.
    """
    bits = bitsandbytes_config(quantization, config)
    if tuned is None:
        return load_model(config, quantization=bits)
    if (tuned / MODEL_FOLDER / "config.json").is_file():
        whole = config.model_copy(update={"path": str(tuned / MODEL_FOLDER), "revision": None})
        return load_model(whole, quantization=bits)
    adapter = tuned / ADAPTER_FOLDER
    check_base(str(adapter), config)
    adapted: Any = load_adapter(load_model(config, quantization=bits), adapter, config.path)
    if bits is None and method_of(config) is None and adapted.dtype == torch.float32:
        return adapted.merge_and_unload()
    return adapted.get_base_model()


def _reading(
    config: ModelConfig,
    make: Callable[[PreTrainedModel], Rater],
    fits: Any,
    quantization: Quantization,
    tuned: Path | None,
    number: int,
) -> Callable[[Batch[Text]], list[np.ndarray]]:
    """What process `number` rates with, from its own copy. Args: fits: `Halving.fits`, shared by all."""
    take_gpu(number)
    rater = make(load_tuned(config, quantization, tuned))
    return FittingRater(rater, fits).read


def _too_large(text: Text) -> UserError:
    row_id, prompt = text.keys[0]
    return UserError(
        f"row {row_id}: its text under rating prompt {prompt + 1} has {len(text.ids)} tokens and does not fit into "
        f"memory, not even alone; what is scored is kept. Set score.max_length below {len(text.ids)} (score.long_rows "
        "says whether such rows are cut or skipped), free memory, or on a CPU set score.num_processes to 1."
    )
