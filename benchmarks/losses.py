"""Speed of losses: transformers' own loss row by row, a padded batch, and ours, interleaved in one run.

    OMP_NUM_THREADS=1 python benchmarks/losses.py --pool alpaca.json --tokenizer FOLDER

A random LLaMA of 58 million parameters at 32,000 tokens of vocabulary; each row is read with its instruction and
without. Prints for each way the median ratio of CPU time to the first way (range) and the largest difference.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selectit.config import LossStage, ModelConfig, PoolConfig
from selectit.data.pool import read_pool
from selectit.inference.batch import CPU_BATCH_TOKENS, LossText
from selectit.inference.load import load_tokenizer
from selectit.inference.loaded import Rater
from selectit.inference.token_rater import PackedTokenRater, PaddedTokenRater, loss
from selectit.scoring.loss_texts import index_losses, loss_batches

DEMO = Path(__file__).resolve().parents[1] / "demo"
SHAPE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}


@torch.no_grad()
def one_by_one(model: LlamaForCausalLM, texts: list[LossText]) -> dict[tuple[str, int], float]:
    """As Cherry_LLM and Superfiltering take them: one text, its labels, every logit."""
    found = {}
    for text in texts:
        ids = torch.as_tensor(text.ids[None].astype(np.int64))
        labels = ids.masked_fill(~torch.as_tensor(text.scored), -100)
        found[text.keys[0][0], len(text.ids)] = float(model(ids, labels=labels).loss)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default=DEMO / "pool.json")
    parser.add_argument("--tokenizer", default=DEMO / "model")
    parser.add_argument("--num-rows", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = ModelConfig(path=str(arguments.tokenizer))
    tokenizer, pool = load_tokenizer(folder), PoolConfig(path=str(arguments.pool), bad_rows="exclude")
    index = index_losses(pool)
    usable = [row.index for row in read_pool(pool) if row.failure is None]
    left_out = np.ones(index.num_rows, dtype=bool)
    left_out[random.Random(0).sample(usable, arguments.num_rows)] = False
    stages = [LossStage(pool=pool, model=folder, text=text, template="alpaca") for text in ("conditioned", "marker")]
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, vocab_size=len(tokenizer))).eval()

    def batched(rater: Rater) -> Callable[[], dict[tuple[str, int], float]]:
        work = [b for s in stages for b in loss_batches(tokenizer, s, index, left_out, CPU_BATCH_TOKENS, rater.pads)]
        return lambda: {
            (text.keys[0][0], len(text.ids)): sums[0] / text.scored.sum()
            for batch in work
            for text, sums in zip(batch.items, rater.rate(batch), strict=True)
            if isinstance(text, LossText)
        }

    texts = [t for s in stages for b in loss_batches(tokenizer, s, index, left_out, 1, True) for t in b.items]
    own = [text for text in texts if isinstance(text, LossText)]
    ways = {
        "one by one, every logit": lambda: one_by_one(model, own),
        "padded, sorted": batched(PaddedTokenRater(model, (loss,))),
        "packed": batched(PackedTokenRater(model, (loss,))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for _ in range(arguments.rounds):
        for name, run in ways.items():
            started = time.process_time()
            found[name] = run()
            seconds[name].append(time.process_time() - started)
    first, *_ = ways
    num_tokens = sum(len(text.ids) for text in own)
    print(f"{arguments.num_rows} rows, {len(own)} texts, {num_tokens} tokens, {arguments.rounds} rounds")
    for name, taken in seconds.items():
        ratios = [one / other for one, other in zip(seconds[first], taken, strict=True)]
        difference = max(abs(found[name][key] - loss) for key, loss in found[first].items())
        print(
            f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) times as fast, "
            f"{statistics.median(taken):.2f} s of CPU, largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
