"""Speed and memory of training: TRL's SFTTrainer as it comes, and ours, interleaved in one run.

    python benchmarks/finetune.py
    python benchmarks/finetune.py --pool alpaca.json --tokenizer FOLDER --num-rows 48 --rounds 3
    python benchmarks/finetune.py --llama-7b --num-rows 512 --pool ...        (a GPU)

Every way trains the same LoRA adapter on the same rows for one epoch, from the same random weights, whose shape
decides the speed. TRL's way: SFTConfig's own batch of 8, order, packing and checkpointing; a step takes as many rows
as ours. Prints one line per way; ratios to the first are medians over the rounds, with their range. "of peak" is
model FLOP utilisation: 4 per weight and token, without what checkpointing computes again. docs/performance.md holds
what was measured.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import random
import resource
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PrinterCallback, TrainerState
from trl import SFTConfig, SFTTrainer

from selectit.config import FinetuneConfig, FinetuneStage, ModelConfig, PoolConfig
from selectit.cost.score_estimate import matrices_of
from selectit.data.conversations import as_conversation
from selectit.data.pool import read_pool
from selectit.finetune.arguments import lora_config, sft_config
from selectit.finetune.budget import step_order
from selectit.finetune.dataset import TrainingRow, tokenize
from selectit.finetune.run_file import TrainingRun
from selectit.finetune.trainer import ResponseTrainer
from selectit.inference.load import device, load_tokenizer, resolve_dtype
from selectit.store.trained_on import Base
from selectit.templates.form import load_form

DEMO = Path(__file__).resolve().parents[1] / "demo"
SMALL = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
LLAMA_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
GPU_MATMUL, CPU_MATMUL = 8192, 2048
NO_BASE = Base(hub_id=None, revision=None, weights_sha256="random", config_sha256="random")
SECONDS_BETWEEN_SAMPLES = 0.02


@dataclass
class Way:
    name: str
    build: Callable[[], SFTTrainer]
    seconds: list[float]
    cpu_seconds: list[float]
    extra_bytes: float = 0.0
    """Above what is held when training starts."""
    losses: tuple[float, ...] = ()


def main() -> None:
    warnings.simplefilter("ignore")
    arguments = _arguments()
    tokenizer = load_tokenizer(ModelConfig(path=str(arguments.tokenizer)))
    rows = _rows(arguments.pool, tokenizer, arguments.num_rows)
    torch.manual_seed(0)
    dtype = resolve_dtype(ModelConfig(path="random"))
    with device():
        shape = LLAMA_7B if arguments.llama_7b else SMALL
        model = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=len(tokenizer))).to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        ways = _ways(Path(folder), model, rows, tokenizer, arguments)
        peaks = []
        for _ in range(arguments.rounds):
            peaks.append(_matmul_peak(dtype))
            for way in ways:
                _measure(way)
    _print(ways, rows, model, statistics.median(peaks), arguments)


def _rows(pool: Path, tokenizer: PreTrainedTokenizerBase, num_rows: int) -> tuple[TrainingRow, ...]:
    usable = [row for row in read_pool(PoolConfig(path=str(pool), bad_rows="exclude")) if row.failure is None]
    drawn = random.Random(0).sample(usable, min(num_rows, len(usable)))
    conversations = [as_conversation(row.row_id, row.messages, "alpaca") for row in drawn]
    return tokenize(
        conversations, load_form("alpaca", tokenizer), FinetuneConfig(max_length=1024, max_truncated_share=1)
    ).rows


def _ways(
    folder: Path,
    model: LlamaForCausalLM,
    rows: Sequence[TrainingRow],
    tokenizer: PreTrainedTokenizerBase,
    arguments: argparse.Namespace,
) -> list[Way]:
    batch = arguments.global_batch_size

    def ours(micro_batch_size: int, **settings: bool) -> SFTTrainer:
        finetune = FinetuneConfig(
            global_batch_size=batch, micro_batch_size=micro_batch_size, num_train_epochs=1, **settings
        )
        stage = FinetuneStage(model=ModelConfig(path="random"), finetune=finetune, seed=0)
        run = TrainingRun(stage=stage, messages=folder, out=folder, base=NO_BASE)
        started = copy.deepcopy(model)
        return ResponseTrainer(
            run, rows, (), step_order(rows, finetune, stage.seed), TrainerState(), model=started,
            args=sft_config(stage, run.checkpoints, None), processing_class=tokenizer,
            peft_config=lora_config(stage, started),
        )  # fmt: skip

    plain = FinetuneStage(model=ModelConfig(path="random"), finetune=FinetuneConfig(), seed=0)

    def trl(**settings: bool | int) -> SFTTrainer:
        started, on_gpu = copy.deepcopy(model), device().type == "cuda"
        config = SFTConfig(
            output_dir=str(folder), num_train_epochs=1, gradient_accumulation_steps=batch // 8, learning_rate=2e-4,
            use_cpu=not on_gpu, bf16=on_gpu, dataloader_pin_memory=on_gpu, logging_steps=1, save_strategy="no",
            disable_tqdm=True, **settings,
        )  # fmt: skip
        columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
        return SFTTrainer(
            model=started, args=config, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer,
            peft_config=lora_config(plain, started),
        )  # fmt: skip

    return [
        Way("TRL's defaults", trl, [], []),
        Way("TRL, length-grouped", lambda: trl(train_sampling_strategy="group_by_length"), [], []),
        Way("ours", lambda: ours(4), [], []),
        Way("ours, packing, 8 rows a pass", lambda: ours(8, packing=True), [], []),
        Way("ours, no checkpointing", lambda: ours(4, gradient_checkpointing=False), [], []),
    ]


def _measure(way: Way) -> None:
    trainer = way.build()
    trainer.remove_callback(PrinterCallback)
    with _PeakMemory() as memory:
        started, cpu_started = time.perf_counter(), _cpu_seconds()
        trainer.train()
        if device().type == "cuda":
            torch.cuda.synchronize()
        way.seconds.append(time.perf_counter() - started)
        way.cpu_seconds.append(_cpu_seconds() - cpu_started)
    way.extra_bytes = max(way.extra_bytes, memory.extra_bytes)
    way.losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)


class _PeakMemory:
    """Bytes above what is held at the start: of the GPU, or resident and sampled where there is none."""

    extra_bytes = 0.0

    def __enter__(self) -> _PeakMemory:
        ctypes.CDLL(None).malloc_trim(0)
        self._process, self._stop = psutil.Process(), threading.Event()
        self._held = self._now()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if torch.cuda.is_available():
            self.extra_bytes = torch.cuda.max_memory_allocated() - self._held

    def _now(self) -> int:
        return torch.cuda.memory_allocated() if torch.cuda.is_available() else self._process.memory_info().rss

    def _sample(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_SAMPLES):
            self.extra_bytes = max(self.extra_bytes, self._now() - self._held)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _matmul_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product, the best of several."""
    size = GPU_MATMUL if device().type == "cuda" else CPU_MATMUL
    a = torch.randn(size, size, device=device(), dtype=dtype)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        if device().type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def _print(
    ways: Sequence[Way],
    rows: Sequence[TrainingRow],
    model: LlamaForCausalLM,
    peak: float,
    arguments: argparse.Namespace,
) -> None:
    num_tokens = sum(len(row.input_ids) for row in rows)
    console = Console(width=150)
    console.print(
        f"{len(rows)} rows, {num_tokens} tokens, the longest {max(len(row.input_ids) for row in rows)}; "
        f"{model.num_parameters() / 1e6:.0f} M parameters, {model.dtype}, {model.device}, "
        f"{torch.get_num_threads()} threads; {arguments.global_batch_size} rows a step; matrix peak "
        f"{peak / 1e9:.0f} GFLOP/s; {arguments.rounds} rounds",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for column in (
        "way", "tokens/s", "s/row", "times the first", "range", "by CPU time", "of peak", "extra MB", "first loss",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "way" else "right")
    first = ways[0]
    pairs = sum(len(row.input_ids) ** 2 for row in rows)
    needed = matrices_of(model).training_flops(num_tokens, pairs, 1, recomputes=False)
    for way in ways:
        taken = statistics.median(way.seconds)
        ratios = [a / b for a, b in zip(first.seconds, way.seconds, strict=True)]
        by_cpu = statistics.median(a / b for a, b in zip(first.cpu_seconds, way.cpu_seconds, strict=True))
        table.add_row(
            way.name, f"{num_tokens / taken:.0f}", f"{taken / len(rows):.3f}", f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}", f"{by_cpu:.2f}", f"{needed / taken / peak:.0%}",
            f"{way.extra_bytes / 1e6:.0f}", f"{way.losses[0]:.4f}",
        )  # fmt: skip
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=DEMO / "pool.json")
    parser.add_argument("--tokenizer", type=Path, default=DEMO / "model", help="folder of a model or a tokenizer")
    parser.add_argument("--num-rows", type=int, default=32)
    parser.add_argument("--global-batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--llama-7b", action="store_true", help="LLaMA-2-7B's shape instead of 25 M + vocabulary")
    return parser.parse_args()


if __name__ == "__main__":
    main()
