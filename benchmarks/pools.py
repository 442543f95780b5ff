"""How much faster a pool is read, and rows are selected from it, when it has been parsed before.

    python benchmarks/pools.py --num-rows 100000

The pool is made up (`pool_size.py`); its table is kept in a temporary folder. Each way runs in this process after all
imports, so what is compared is the work: the first reading of all columns that a selection keeps against the second;
the first `select` of a fifth of the rows, which has to read the pool, against another one of a tenth. Prints the median
and the range of the ratios of CPU seconds over the rounds. docs/performance.md has the figures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pool_size import write_pool
from rich.console import Console

from selectit.config import PoolConfig, SelectStage
from selectit.data.kept import forget, kept_folder
from selectit.selection import stage
from selectit.selection.columns import read_columns
from selectit.selection.registry import shipped
from selectit.tracking import Tracker

STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {"strategy": "random"},
    "length": {"strategy": "length", "unit": "chars"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-rows", type=int, default=100_000)
    parser.add_argument("--words", type=int, nargs=2, default=(20, 120), help="fewest and most words of a response")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path = Path(folder) / "pool.jsonl"
        write_pool(path, arguments.num_rows, arguments.words)
        pool = PoolConfig(path=str(path))
        print(f"{arguments.num_rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
        pairs = []
        for _ in range(arguments.rounds):
            _nothing_kept()
            pairs.append((_seconds(lambda: read_columns(pool)), _seconds(lambda: read_columns(pool))))
        [table] = kept_folder().glob("*.arrow")
        print(f"kept: {table.stat().st_size / 1e6:,.0f} MB")
        _report("reading", pairs)
        for name, fields in STRATEGIES.items():
            pairs = []
            for number in range(arguments.rounds):
                _nothing_kept()
                outs = [Path(folder) / f"{name}-{number}-{ratio}" for ratio in (0.2, 0.1)]
                pairs.append(
                    tuple(_select(pool, fields, ratio, out) for ratio, out in zip((0.2, 0.1), outs, strict=True))
                )
            _report(f"select {name}", pairs)


def _nothing_kept() -> None:
    forget()
    shutil.rmtree(kept_folder(), ignore_errors=True)


def _select(pool: PoolConfig, fields: dict[str, Any], ratio: float, out: Path) -> float:
    config = SelectStage(pool=pool, select=shipped().read({**fields, "ratio": ratio}), seed=0)
    out.mkdir()
    return _seconds(lambda: stage.run(config, {}, out, Tracker(out, Console(quiet=True))))


def _seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _report(name: str, pairs: Sequence[Sequence[float]]) -> None:
    ratios = sorted(first / second for first, second in pairs)
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name}: first {first:.2f} s, second {second:.3f} s of CPU, ratio {statistics.median(ratios):.1f} "
        f"({ratios[0]:.1f}-{ratios[-1]:.1f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
