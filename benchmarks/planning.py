"""How long `selectit plan` takes for a recipe of many arms: reading, building the graph, asking what is done.

Writes a recipe over the demonstration data into a temporary folder; runs no stage. CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import yaml

from selectit.plan.build import build
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.store.runs_folder import Store

DEMO = Path(__file__).resolve().parents[1] / "demo"


def recipe(num_arms: int, num_seeds: int) -> dict:
    """Arms of five kinds, no two alike in selection and training."""
    arms = {}
    for i in range(num_arms):
        ratio = (i + 1) / (num_arms + 1)
        kinds = (
            {"strategy": "random", "ratio": ratio},
            {"strategy": "selectit", "alpha": ratio},
            {"strategy": "length", "ratio": ratio},
            {"strategy": "random_rest", "rest_of": "arm1", "ratio": 0.1},
            {"strategy": "selectit", "level": "token", "ratio": ratio},
        )
        arms[f"arm{i}"] = {"select": kinds[i % len(kinds)], "finetune": {"learning_rate": 1e-5 * (i + 1)}}
    return {
        "name": "planning", "pool": {"path": str(DEMO / "pool.json")}, "model": {"path": str(DEMO / "model")},
        "evaluate": {"profile": "miniature", "data": str(DEMO / "benchmarks")}, "arms": arms, "baseline": "arm0",
        "seeds": {"train": list(range(num_seeds))},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-arms", type=int, default=200)
    parser.add_argument("--num-seeds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe(arguments.num_arms, arguments.num_seeds)))
        times = [time.process_time()]
        loaded = load(path)
        times.append(time.process_time())
        plan = build(loaded)
        times.append(time.process_time())
        inspect(plan, Store(Path(folder) / "runs"))
        times.append(time.process_time())
    read, built, inspected = (b - a for a, b in itertools.pairwise(times))
    print(f"{len(plan.rows)} rows, {len(plan.stages)} stages")
    print(f"read {read:.2f} s, built {built:.2f} s, asked what is done {inspected:.2f} s")


if __name__ == "__main__":
    main()
