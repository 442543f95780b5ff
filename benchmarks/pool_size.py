"""Memory and time of the score stage by the size of the pool, without a model's work: a stub answers at once.

    python benchmarks/pool_size.py --num-rows 100000 --num-prompts 1

The pool is made up and written to a temporary folder. Prints seconds and the peak memory of the process, after
the imports, after scoring, and after reading the ledger as a selection does. docs/performance.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from selectit.config import ModelConfig, PoolConfig, ScoreStage
from selectit.data import iter_pool
from selectit.scoring import stage
from selectit.scoring.ledger import LEDGER, read_ratings
from selectit.scoring.prompts import read_rating_prompts
from selectit.scoring.rater import Batch
from selectit.tracking import Tracker

DEMO = Path(__file__).resolve().parents[1] / "demo"
RESPONSE_WORDS = (20, 120)


class Stub:
    """Answers by length, at once."""

    name, pads = "stub", False

    def rate(self, batch: Batch) -> np.ndarray:
        lengths = np.array([len(text.ids) for text in batch.texts])
        return (lengths[:, None] % np.array([3, 5, 7, 11, 13]) + 1) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-rows", type=int, default=100_000)
    parser.add_argument("--num-prompts", type=int, default=1)
    arguments = parser.parse_args()
    stage.make_rater = lambda model, rating_ids: Stub()  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        pool = Path(folder) / "pool.jsonl"
        _write(pool, arguments.num_rows)
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
        row_ids = [row.row_id for row in iter_pool(config.pool)]
        started = time.monotonic()
        read_ratings(Path(folder) / LEDGER, row_ids, range(arguments.num_prompts))
        print(f"ledger read: {time.monotonic() - started:.1f} s, peak {_peak():,} MB")


def _write(path: Path, num_rows: int) -> None:
    draw = random.Random(0)
    words = ["number", "river", "little", "answer", "green", "seven", "because", "house", "writes", "of", "the", "a"]
    with path.open("w", encoding="utf-8") as f:
        for number in range(num_rows):
            response = " ".join(draw.choices(words, k=draw.randint(*RESPONSE_WORDS)))
            f.write(json.dumps({"instruction": f"Say {number}.", "output": response}) + "\n")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
