"""vLLM as rater, in a Python of its own (see vllm_client.py): behind the same interface as a model in this process.

vLLM makes its own batches and remembers shared prefixes, so it is handed many texts at a time. One engine for each GPU;
one for all of them where the model's device_map is auto.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import numpy as np
import torch

from selectit.config import ScoreStage
from selectit.errors import UserError
from selectit.inference.batch import VLLM_PATH, Batch, Text
from selectit.inference.load import load_outline, load_skeleton, not_finite
from selectit.inference.loaded import RaterFacts
from selectit.inference.vllm_client import VllmEngine, engine_settings


class LoadedVllm:
    """A `selectit.inference.loaded.Loaded`; its engines stay until it is closed.

    Args:
        rating_ids: token ids of the ratings.
        num_engines: None: one for each GPU, one on a CPU.
    Raises: UserError where vLLM does not start or does not take the model.
    """

    pads = False

    def __init__(self, config: ScoreStage, rating_ids: Sequence[int], num_engines: int | None) -> None:
        skeleton = load_outline(config.model)  # refuses weights that are missing, which vLLM may leave as they are
        self._config, self._rating_ids = config, list(rating_ids)
        self._gpus, self._spread = names_of_gpus(), config.model.device_map == "auto"
        num_gpus = max(len(self._gpus), 1)
        self._settings = settings_of(config, num_gpus if self._spread else 1)
        self.num_processes = 1 if self._spread else num_engines or num_gpus
        self._engines: list[VllmEngine] = []
        self._start(0)
        [engine] = self._engines
        if not np.isfinite(self._probabilities(engine, [self._rating_ids])).all():
            self.__exit__()
            raise not_finite(config.model.path, engine.dtype)
        self._longest = engine.max_model_len - 1
        places = [f"cuda:{n}" for n in range(self._settings["tensor_parallel_size"])]
        self.facts = RaterFacts(
            rater=VLLM_PATH,
            dtype=engine.dtype,
            device=engine.device,
            num_parameters=sum(p.numel() for p in skeleton.parameters()),
            placement=places if engine.device == "cuda" else [engine.device],
            is_offloaded=False,
            context=_context(skeleton.config),
            engine=f"vllm {engine.version}",
        )

    def __enter__(self) -> LoadedVllm:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for engine in self._engines:
            engine.close()
        self._engines = []

    def plan(self, batches: Iterator[Batch[Text]]) -> Iterator[Batch[Text]]:
        return batches

    def rate(self, batches: Iterable[Batch[Text]]) -> Iterator[tuple[Batch[Text], np.ndarray]]:
        """Each batch with the ratings of its texts, in the order in which they come; the next batch is made meanwhile.

        Raises: UserError where a text is longer than vLLM takes, or vLLM fails or is killed.
        """
        idle: queue.SimpleQueue[VllmEngine] = queue.SimpleQueue()
        pending: set[Future[tuple[Batch[Text], np.ndarray]]] = set()

        def ask(batch: Batch[Text]) -> tuple[Batch[Text], np.ndarray]:
            engine = idle.get()
            try:
                return batch, self._probabilities(engine, [text.ids.tolist() for text in batch.items])
            finally:
                idle.put(engine)

        with ThreadPoolExecutor(self.num_processes) as threads:  # they wait; the engines are processes
            try:
                list(threads.map(self._start, range(len(self._engines), self.num_processes)))
                for engine in self._engines:
                    idle.put(engine)
                for batch in batches:
                    refuse_beyond(self._longest, self._config, batch.items)
                    pending.add(threads.submit(ask, batch))
                    if len(pending) > self.num_processes:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        yield from (one.result() for one in done)
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
            except BaseException:  # no thread is to wait for an answer that nobody wants
                threads.shutdown(wait=False, cancel_futures=True)
                self.__exit__()
                raise

    def _start(self, number: int) -> None:
        own = {} if self._spread or not self._gpus else {"CUDA_VISIBLE_DEVICES": self._gpus[number % len(self._gpus)]}
        self._engines.append(VllmEngine(self._config.vllm_python, self._settings, own))

    def _probabilities(self, engine: VllmEngine, rows: list[list[int]]) -> np.ndarray:
        """float64 [len(rows), NUM_RATINGS]."""
        found = engine.ask("next_of_each", rows=rows, token_ids=[self._rating_ids] * len(rows))
        return np.exp(np.array([log_probs for _, log_probs in found], dtype=np.float64))


def settings_of(config: ScoreStage, num_gpus: int) -> dict[str, Any]:
    """Args: num_gpus: that one engine has."""
    longest = longest_text(config)
    return engine_settings(config.model, None if longest is None else longest + 1, num_gpus)


def longest_text(config: ScoreStage) -> int | None:
    """Tokens that vLLM takes at most: in addition it keeps room for one that it writes. None: vLLM says it."""
    limits = [_context(load_skeleton(config.model).config)]
    if config.max_length is not None:
        limits.append(config.max_length + 1)
    known = [limit for limit in limits if limit is not None]
    return min(known) - 1 if known else None


def refuse_beyond(longest: int, config: ScoreStage, texts: Iterable[Text]) -> None:
    """Raises: UserError naming the longest of the texts, where there is one that vLLM does not take."""
    text = max((text for text in texts if text.failure is None), key=lambda text: len(text.ids), default=None)
    if text is None or len(text.ids) <= longest:
        return
    row_id, prompt = text.keys[0]
    raise UserError(
        f"pool {config.pool.path}: row {row_id} under rating prompt {prompt + 1} has {len(text.ids)} tokens, and vLLM "
        f"takes {longest} of this model at most (its context, less one). Set score.max_length to at most {longest} "
        "(score.long_rows says whether such rows are cut or skipped), or score.backend to transformers, which rates "
        "texts beyond the context whole."
    )


def names_of_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU, the one that this process has taken first."""
    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    own = torch.cuda.current_device()
    return names[own:] + names[:own]


def _context(architecture: Any) -> int | None:
    return getattr(architecture, "max_position_embeddings", None)
