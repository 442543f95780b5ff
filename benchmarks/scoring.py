"""Speed and memory of scoring: the released code's way, a plain padded batch, and ours, interleaved in one run.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --pool alpaca.json --rating-prompts prompts.txt --tokenizer FOLDER
    python benchmarks/scoring.py --pool alpaca.json --model FOLDER    (a real model of the LLaMA family)
    python benchmarks/scoring.py --llama-7b --num-rows 200 ...        (a GPU)

Without --model the weights are random; the shape decides the speed. Prints one line per way: ratios to the first way
are medians over the rounds, with their range; the one by CPU time is steadier on a machine that is shared
and with OMP_NUM_THREADS=1, for waiting threads burn CPU time too. The last way tokenises while it rates, as a stage
does; the line below the table has what tokenising costs alone, and what it adds. docs/performance.md holds what was
measured.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from selectit.config import ModelConfig, PoolConfig
from selectit.cost.flops import BatchCount
from selectit.cost.score_estimate import matrices_of
from selectit.data.pool import read_pool
from selectit.inference.ahead import ahead
from selectit.inference.batch import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, Batch, Text, batches, common_prefix
from selectit.inference.kernels import linear
from selectit.inference.load import device, load_model, load_tokenizer, resolve_dtype
from selectit.inference.loaded import Rater
from selectit.inference.packed import PackedRater
from selectit.inference.padded import PaddedRater
from selectit.inference.workers import ModelWorkers, in_order
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.prompts import rating_text, read_rating_prompts
from selectit.scoring.ratings import rating_token_ids
from selectit.scoring.texts import rating_texts

DEMO = Path(__file__).resolve().parents[1] / "demo"
SMALL = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
LLAMA_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
PADDED_TOKENS = {"cpu": 512, "cuda": 8192}
"""Of a plain padded batch: the best of what was tried, so that the comparison is fair."""


@dataclass(frozen=True)
class Way:
    """One way of scoring: `run` gives float64 [num_texts, NUM_RATINGS], `flops` what it computes."""

    name: str
    run: Callable[[], np.ndarray]
    flops: float


class OneByOne:
    """As the released code does it: one text at a time, logits at every position."""

    name, pads = "one by one", True

    def __init__(self, model: LlamaForCausalLM, rating_ids: Sequence[int]) -> None:
        self._model, self._rating_ids = model, list(rating_ids)

    @torch.inference_mode()
    def rate(self, batch: Batch) -> np.ndarray:
        [text] = batch.items
        ids = torch.as_tensor(text.ids[None].astype(np.int64)).to(self._model.device)
        logits = self._model(input_ids=ids, use_cache=False).logits[0, -1].float()
        return torch.softmax(logits, dim=-1)[self._rating_ids].double().cpu().numpy()[None]


def main() -> None:
    arguments = _arguments()
    tokenizer = load_tokenizer(ModelConfig(path=str(arguments.model or arguments.tokenizer)))
    rows = read_pool(PoolConfig(path=str(arguments.pool), bad_rows="exclude"))
    rows = random.Random(0).sample([row for row in rows if row.failure is None], min(arguments.num_rows, len(rows)))
    prompts = read_rating_prompts(str(arguments.rating_prompts), "corrected")[: arguments.num_prompts]

    def tokenised() -> Iterator[list[Text]]:
        for number, prompt in enumerate(prompts):
            yield rating_texts(tokenizer, [[row] for row in rows], number, prompt)

    started = time.perf_counter()
    groups = list(tokenised())
    tokenising = time.perf_counter() - started
    rating_ids = rating_token_ids(tokenizer, [rating_text(prompts[0], rows[0].instruction, rows[0].response)])

    torch.manual_seed(0)
    shape = LLAMA_7B if arguments.llama_7b else SMALL
    dtype = resolve_dtype(ModelConfig(path="random"))
    if arguments.model is not None:
        model: Any = load_model(ModelConfig(path=str(arguments.model)))
    else:
        with device():
            model = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=len(tokenizer))).to(dtype).eval()
    ways = _ways(model, rating_ids, groups, arguments.num_processes, tokenised)

    found: dict[str, np.ndarray] = {}
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    cpu_seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    peaks = []
    for _ in range(arguments.rounds):
        peaks.append(matmul_peak(dtype))
        for way in ways:
            started, cpu_started = time.perf_counter(), _cpu_seconds()
            found[way.name] = way.run()
            seconds[way.name].append(time.perf_counter() - started)
            cpu_seconds[way.name].append(_cpu_seconds() - cpu_started)
    memory = {way.name: _peak_memory(way.run) for way in ways}

    texts = [text for group in groups for text in group]
    scores = {name: _scores(probabilities, texts, len(prompts)) for name, probabilities in found.items()}
    num_ids = sum(len(text.ids) for text in texts)
    peak = statistics.median(peaks)
    console = Console(width=150)
    console.print(
        f"{len(rows)} rows x {len(prompts)} prompts, {num_ids} tokens; "
        f"{model.num_parameters() / 1e6:.0f} M parameters, "
        f"{dtype}, {model.device}, {torch.get_num_threads()} threads; matrix peak {peak / 1e9:.0f} GFLOP/s; "
        f"{arguments.rounds} rounds",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for column in (
        "way", "rows/s", "tokens/s", "times the first", "range", "times the second", "by CPU time",
        "of peak", "extra MB", "differs",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "way" else "right")
    first, second = (seconds[way.name] for way in ways[:2])
    for way in ways:
        taken = statistics.median(seconds[way.name])
        ratios = [a / b for a, b in zip(first, seconds[way.name], strict=True)]
        to_second = statistics.median(a / b for a, b in zip(second, seconds[way.name], strict=True))
        cpu = zip(cpu_seconds[ways[0].name], cpu_seconds[way.name], strict=True)
        by_cpu = statistics.median(a / b for a, b in cpu)
        difference = np.abs(scores[way.name] - scores[ways[0].name]).max()
        table.add_row(
            way.name, f"{len(rows) / taken:.2f}", f"{num_ids / taken:.0f}", f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}", f"{to_second:.2f}", f"{by_cpu:.2f}",
            f"{way.flops / taken / peak:.0%}", f"{memory[way.name]:.0f}", f"{difference:.1e}",
        )  # fmt: skip
    console.print(table)
    whole = statistics.median(seconds[ways[-1].name])
    added = statistics.median(a - b for a, b in zip(seconds[ways[-1].name], seconds[ways[-2].name], strict=True))
    console.print(
        f"tokenising: {tokenising:.2f} s alone ({tokenising / whole:.1%} of the whole), adds {added:+.2f} s "
        f"({added / whole:+.1%}) while texts are rated",
        highlight=False,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=DEMO / "pool.json")
    parser.add_argument("--rating-prompts", default="default")
    parser.add_argument("--tokenizer", type=Path, default=DEMO / "model", help="folder of a model or a tokenizer")
    parser.add_argument("--model", type=Path, help="folder of a model of the LLaMA family, with its tokenizer")
    parser.add_argument("--num-rows", type=int, default=20)
    parser.add_argument("--num-prompts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-processes", type=int, default=torch.get_num_threads())
    parser.add_argument("--llama-7b", action="store_true", help="LLaMA-2-7B's shape instead of 25 M + vocabulary")
    return parser.parse_args()


def _ways(
    model: LlamaForCausalLM,
    rating_ids: Sequence[int],
    groups: Sequence[Sequence[Text]],
    num_processes: int,
    tokenised: Callable[[], Iterator[list[Text]]],
) -> list[Way]:
    kind = model.device.type
    ours = CPU_BATCH_TOKENS if kind == "cpu" else GPU_BATCH_TOKENS
    packed = PackedRater(model, rating_ids)
    ways = [
        _way("one by one, all logits", model, OneByOne(model, rating_ids), groups, 1),
        _way("padded, sorted", model, PaddedRater(model, rating_ids), groups, PADDED_TOKENS[kind]),
        _way("packed, one process", model, packed, groups, ours),
    ]
    if kind == "cpu" and num_processes > 1:
        ways.append(_way(f"packed, {num_processes} processes", model, packed, groups, ours, num_processes))
    many = num_processes if kind == "cpu" else 1
    ways.append(_way("the same, tokenising too", model, packed, groups, ours, many, tokenised))
    return ways


def _way(
    name: str,
    model: LlamaForCausalLM,
    rater: Rater,
    groups: Sequence[Sequence[Text]],
    batch_tokens: int,
    num_processes: int = 1,
    tokenised: Callable[[], Iterator[list[Text]]] | None = None,
) -> Way:
    """Args: tokenised: makes the groups anew, in a thread while they are rated."""

    def cut(groups: Iterable[Sequence[Text]]) -> Iterator[Batch]:
        return (batch for group in groups for batch in batches(group, common_prefix(group), batch_tokens, rater.pads))

    work = list(cut(groups))
    workers: ModelWorkers[Batch[Text], np.ndarray] = ModelWorkers(
        model.device, rater.rate, None, lambda: None, "killed"
    )
    order = [text.keys for group in groups for text in group]

    def run() -> np.ndarray:
        found = {}
        given = work if tokenised is None else ahead(cut(tokenised()))
        alone = ((batch, rater.rate(batch)) for batch in given)
        for batch, probabilities in workers.run(in_order(iter(given)), num_processes) if num_processes > 1 else alone:
            found.update(zip((text.keys for text in batch.items), probabilities, strict=True))
        workers.close()  # starting them is a part of it
        return np.array([found[keys] for keys in order])

    return Way(name, run, _flops(model, rater, work))


def _flops(model: LlamaForCausalLM, rater: Rater, work: Sequence[Batch]) -> float:
    count = BatchCount(matrices_of(model), rater.pads, every_logit=isinstance(rater, OneByOne))
    for batch in work:
        count.add(batch)
    return count.flops


def matmul_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product, all threads, the best of several by torch.matmul or ours."""
    size = 8192 if device().type == "cuda" else 2048
    a = torch.randn(size, size, device=device(), dtype=dtype)
    best = float("inf")
    for product in (torch.matmul, linear) * 5:
        started = time.perf_counter()
        product(a, a)
        if device().type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _scores(probabilities: np.ndarray, texts: Sequence[Text], num_prompts: int) -> np.ndarray:
    assert len(texts) % num_prompts == 0
    token = token_scores(probabilities.reshape(num_prompts, -1, probabilities.shape[1]), "corrected")
    return sentence_scores(token.T, alpha=0.2)


def _peak_memory(run: Callable[[], np.ndarray]) -> float:
    """MB above what is held when `run` starts, its processes included; measured apart from the times."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - held) / 1e6
    with _sampled_memory() as samples:
        run()
    return (max(samples) - samples[0]) / 1e6


@contextmanager
def _sampled_memory() -> Iterator[list[int]]:
    """Bytes of this process and its children, shared pages counted once, every few milliseconds."""
    me = psutil.Process()
    ctypes.CDLL(None).malloc_trim(0)

    def held() -> int:
        total = 0
        for process in (me, *me.children(recursive=True)):
            try:
                total += process.memory_full_info().pss
            except psutil.Error:  # it has just ended
                continue
        return total

    samples, stop = [held()], threading.Event()

    def sample() -> None:
        while not stop.wait(0.02):
            samples.append(held())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
