"""Time and memory of the strategies that need no model, by the number of rows.

    OMP_NUM_THREADS=1 python benchmarks/selection.py zip --num-rows 1000 10000 52000 --ratio 0.05

Each size runs in a process of its own, on rows drawn with replacement from the pool, each with a number behind its
response. Prints seconds of CPU and the peak memory over what the imports take.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import time
from pathlib import Path

import numpy as np

DEMO = Path(__file__).resolve().parents[1] / "demo"


def of_zip(pool: Path, num_rows: int, ratio: float) -> str:
    from selectit.selection.strategies.zip import CompressedList, zip_order

    rows, draw = json.loads(pool.read_text(encoding="utf-8")), random.Random(0)
    drawn = [{**row, "output": f"{row['output']} {at}"} for at, row in enumerate(draw.choices(rows, k=num_rows))]
    texts = [str(row).encode() for row in drawn]
    order = zip_order(texts, CompressedList().ratios_with(texts), int(ratio * num_rows), (10_000, 200, 100), False)
    return f"{len(order):,} of {num_rows:,} rows, {np.mean([len(text) for text in texts]):,.0f} bytes each"


WAYS = {"zip": of_zip}


def _measured(name: str, pool: Path, num_rows: int, ratio: float) -> str:
    before, started = _peak(), time.process_time()
    what = WAYS[name](pool, num_rows, ratio)
    return f"{name}: {what}: {time.process_time() - started:,.1f} s of CPU, {_peak() - before:,} MB"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", choices=WAYS)
    parser.add_argument("--pool", type=Path, default=DEMO / "pool.json", help="Alpaca rows in JSON")
    parser.add_argument("--num-rows", type=int, nargs="+", default=(1000, 10_000))
    parser.add_argument("--ratio", type=float, default=0.05)
    arguments = parser.parse_args()
    for name in arguments.ways:
        for num_rows in arguments.num_rows:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                print(process.apply(_measured, (name, arguments.pool, num_rows, arguments.ratio)), flush=True)


if __name__ == "__main__":
    main()
