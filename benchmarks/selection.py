"""Time and memory of the strategies that need no pass of a model, by the number of rows.

    OMP_NUM_THREADS=1 python benchmarks/selection.py zip --num-rows 1000 10000 52000 --ratio 0.05
    OMP_NUM_THREADS=1 python benchmarks/selection.py k_center facility_location cosine_filter kmeans_quota --width 384

Each size runs in a process of its own: `zip` on rows drawn with replacement from the pool, each with a number behind
its response; the methods by vectors on random float32 vectors around 100 centres. Prints seconds of CPU and the peak
memory over what the imports take, vectors included.
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


def of_vectors(name: str, num_rows: int, width: int, ratio: float) -> str:
    from selectit.selection.diversity.cosine_filter import cosine_filter
    from selectit.selection.diversity.facility_location import facility_location
    from selectit.selection.diversity.k_center import k_center
    from selectit.selection.diversity.kmeans_quota import equal_quota, kmeans_labels

    generator, count = np.random.default_rng(0), int(ratio * num_rows)
    centres = generator.standard_normal((100, width), dtype=np.float32)
    vectors = centres[generator.integers(0, 100, num_rows)]
    vectors += 0.5 * generator.standard_normal((num_rows, width), dtype=np.float32)
    ways = {
        "cosine_filter": lambda: cosine_filter(vectors, 0.9, count),
        "k_center": lambda: k_center(vectors, 1, count),
        "facility_location": lambda: facility_location(vectors, count),
        "kmeans_quota": lambda: equal_quota(kmeans_labels(vectors, 100, 1, 0), count),
    }
    ways[name]()
    return f"{count:,} of {num_rows:,} rows, {vectors.nbytes / 1e6:,.0f} MB of vectors of width {width}"


WAYS = ("zip", "cosine_filter", "k_center", "facility_location", "kmeans_quota")


def _measured(name: str, pool: Path, num_rows: int, width: int, ratio: float) -> str:
    before, started = _peak(), time.process_time()
    what = of_zip(pool, num_rows, ratio) if name == "zip" else of_vectors(name, num_rows, width, ratio)
    return f"{name}: {what}: {time.process_time() - started:,.1f} s of CPU, {_peak() - before:,} MB"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", choices=WAYS)
    parser.add_argument("--pool", type=Path, default=DEMO / "pool.json", help="Alpaca rows in JSON")
    parser.add_argument("--num-rows", type=int, nargs="+", default=(1000, 10_000))
    parser.add_argument("--width", type=int, default=384, help="of the vectors")
    parser.add_argument("--ratio", type=float, default=0.05)
    arguments = parser.parse_args()
    for name in arguments.ways:
        for num_rows in arguments.num_rows:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                print(
                    process.apply(_measured, (name, arguments.pool, num_rows, arguments.width, arguments.ratio)),
                    flush=True,
                )


if __name__ == "__main__":
    main()
