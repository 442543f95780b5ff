"""Speed of scoring with vLLM against the packed path, on the same rows and device, way after way.

    python benchmarks/scoring_vllm.py --vllm-python ~/vllm/bin/python --pool alpaca.json --tokenizer FOLDER

The model has random weights. Each round has rows of its own, for vLLM remembers whole texts; loading is not counted.
Prints for each round both times and their ratio, also by CPU time of all processes, which is steadier on a machine that
is shared, with one thread each (OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind). docs/performance.md holds what was
measured.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from scoring import DEMO, SMALL
from transformers import LlamaConfig, LlamaForCausalLM

from selectit.config import ModelConfig, PoolConfig, ScoreStage
from selectit.data.pool import read_pool
from selectit.inference.batch import Text, batches, common_prefix
from selectit.inference.load import load_tokenizer
from selectit.inference.loaded import Loaded, LoadedRater, make_rater
from selectit.inference.vllm_rater import LoadedVllm
from selectit.scoring.batch_tokens import tokens_of_a_batch
from selectit.scoring.prompts import rating_text, read_rating_prompts
from selectit.scoring.ratings import rating_token_ids
from selectit.scoring.texts import rating_texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-python", required=True)
    parser.add_argument("--pool", type=Path, default=DEMO / "pool.json")
    parser.add_argument("--rating-prompts", default="default")
    parser.add_argument("--tokenizer", type=Path, default=DEMO / "model", help="folder of a model or a tokenizer")
    parser.add_argument("--num-rows", type=int, default=12, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    prompts = read_rating_prompts(str(arguments.rating_prompts), "corrected")[:5]
    tokenizer = load_tokenizer(ModelConfig(path=str(arguments.tokenizer)))
    rows = [row for row in read_pool(PoolConfig(path=str(arguments.pool), bad_rows="exclude")) if row.failure is None]
    rows = random.Random(0).sample(rows, (arguments.rounds + 1) * arguments.num_rows)
    rating_ids = rating_token_ids(tokenizer, [rating_text(prompts[0], rows[0].instruction, rows[0].response)])

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=len(tokenizer))).save_pretrained(folder)
        model = ModelConfig(path=folder)
        stock = ScoreStage(pool=PoolConfig(path=str(arguments.pool)), model=model, prompts=prompts)
        vllm = stock.model_copy(update={"backend": "vllm", "vllm_python": arguments.vllm_python})
        make = functools.partial(make_rater, rating_ids=rating_ids)
        with LoadedRater(model, make, 1) as ours, LoadedVllm(vllm, rating_ids, 1) as theirs:
            print(
                f"{theirs.facts.engine}, {ours.facts.dtype} on {ours.facts.device}, {torch.get_num_threads()} threads"
            )
            ratios, cpu_ratios, differences = [], [], []
            for number in range(arguments.rounds + 1):
                own = rows[number * arguments.num_rows : (number + 1) * arguments.num_rows]
                groups = [
                    rating_texts(tokenizer, [[row] for row in own], n, prompt) for n, prompt in enumerate(prompts)
                ]
                first = _rate(ours, groups, tokens_of_a_batch(stock, ours.facts.device))
                second = _rate(theirs, groups, tokens_of_a_batch(vllm, theirs.facts.device))
                differences.append(float((np.abs(first.found - second.found) / first.found).max()))
                if not number:  # the first one warms both up
                    continue
                ratios.append(first.seconds / second.seconds)
                cpu_ratios.append(first.cpu_seconds / second.cpu_seconds)
                num_tokens = sum(len(text.ids) for group in groups for text in group)
                print(
                    f"{num_tokens} tokens: {ours.facts.rater} {first.seconds:.2f} s ({first.cpu_seconds:.2f} of CPU), "
                    f"vllm {second.seconds:.2f} s ({second.cpu_seconds:.2f}): {ratios[-1]:.2f} ({cpu_ratios[-1]:.2f})",
                    flush=True,
                )
    for what, found in (("", ratios), ("by CPU time ", cpu_ratios)):
        print(f"{what}vllm is {statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f}) times as fast")
    print(f"a probability differs by {max(differences):.1e} of itself at most")


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float
    found: np.ndarray
    """float64 [num_texts, NUM_RATINGS], in the order of the groups."""


def _rate(rater: Loaded, groups: Sequence[Sequence[Text]], batch_tokens: int) -> Run:
    work = [b for group in groups for b in batches(group, common_prefix(group), batch_tokens, rater.pads)]
    started, cpu_started = time.perf_counter(), _cpu_seconds()
    found = {}
    for batch, probabilities in rater.rate(rater.plan(iter(work))):
        found.update(zip((text.keys for text in batch.items), probabilities, strict=True))
    seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds() - cpu_started
    return Run(seconds, cpu_seconds, np.array([found[text.keys] for group in groups for text in group]))


def _cpu_seconds() -> float:
    """Of this process and all that it has started, which stay."""
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True)))


if __name__ == "__main__":
    main()
