"""Memory and time of the score stage by the size of the pool, without a model's work: a stub answers at once.

    python benchmarks/pool_size.py --num-rows 100000 --num-prompts 1

The pool is made up and written to a temporary folder. Prints seconds and the peak memory of the process so far, after
the imports, after scoring, and after selecting a fifth of the rows. docs/performance.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selectit.config import ModelConfig, PoolConfig, ScoreStage, SelectStage
from selectit.data.pool import Row
from selectit.inference.batch import Batch, Text
from selectit.scoring import stage, texts
from selectit.scoring.prompts import read_rating_prompts
from selectit.selection import stage as select
from selectit.selection.strategies.selectit import SelectITSelect
from selectit.tracking import Tracker

DEMO = Path(__file__).resolve().parents[1] / "demo"


class Stub:
    """Answers by length, at once."""

    name, pads = "stub", False

    def rate(self, batch: Batch) -> np.ndarray:
        lengths = np.array([len(text.ids) for text in batch.items])
        return (lengths[:, None] % np.array([3, 5, 7, 11, 13]) + 1) / 100


def _made_up_texts(
    tokenizer: Any, groups: Sequence[Sequence[Row]], number: int, prompt: str, *limits: Any
) -> list[Text]:
    return [
        Text(tuple((row.row_id, number) for row in group), np.arange(40 + len(group[0].response) // 5, dtype=np.int32))
        for group in groups
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-rows", type=int, default=100_000)
    parser.add_argument("--num-prompts", type=int, default=1)
    parser.add_argument("--words", type=int, nargs=2, default=(20, 120), help="fewest and most words of a response")
    parser.add_argument("--folder", type=Path, help="where pool and ledger stand meanwhile; default: the system's")
    parser.add_argument("--stub-tokenizer", action="store_true", help="token ids are made up too, a fifth of the time")
    arguments = parser.parse_args()
    stage.make_rater = lambda model, rating_ids: Stub()  # type: ignore[assignment]
    if arguments.stub_tokenizer:
        texts.rating_texts = _made_up_texts  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        pool = Path(folder) / "pool.jsonl"
        write_pool(pool, arguments.num_rows, arguments.words)
        config = ScoreStage(
            pool=PoolConfig(path=str(pool)),
            model=ModelConfig(path=str(DEMO / "model")),
            prompts=read_rating_prompts("default", "corrected")[: arguments.num_prompts],
            num_processes=1,
            batch_tokens=16384,
        )
        print(f"{arguments.num_rows:,} rows, {pool.stat().st_size / 1e6:,.0f} MB; imports: {_peak():,} MB", flush=True)
        started, cpu_started = time.monotonic(), time.process_time()
        stage.run(config, {}, Path(folder), Tracker(Path(folder), Console()))
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
        print(f"scored: {seconds:,.0f} s ({cpu_seconds:,.0f} s of CPU), peak {_peak():,} MB", flush=True)
        _select(config, Path(folder))


def _select(config: ScoreStage, scored: Path) -> None:
    """A fifth of the rows by SelectIT."""
    strategy = SelectITSelect(strategy="selectit", ratio=0.2, level="token" if len(config.prompts) == 1 else "sentence")
    out = scored / "select"
    out.mkdir()
    selecting = SelectStage(pool=config.pool, select=strategy, prompts=config.prompts, theta=(None,))
    started = time.process_time()
    select.run(selecting, {"score0": scored}, out, Tracker(out, Console()))
    print(f"selected: {time.process_time() - started:,.0f} s of CPU, peak {_peak():,} MB")


def write_pool(path: Path, num_rows: int, num_words: Sequence[int]) -> None:
    draw = random.Random(0)
    words = ["number", "river", "little", "answer", "green", "seven", "because", "house", "writes", "of", "the", "a"]
    with path.open("w", encoding="utf-8") as f:
        for number in range(num_rows):
            response = " ".join(draw.choices(words, k=draw.randint(*num_words)))
            f.write(json.dumps({"instruction": f"Say {number}.", "output": response}) + "\n")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
