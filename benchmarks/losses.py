"""Speed of losses: transformers' own loss row by row, a padded batch, and ours, interleaved in one run; and of what
else the same pass can give.

    OMP_NUM_THREADS=1 python benchmarks/losses.py --pool alpaca.json --tokenizer FOLDER
    OMP_NUM_THREADS=1 python benchmarks/losses.py --pool alpaca.json --model FOLDER

A random LLaMA of 58 million parameters at 32,000 tokens of vocabulary, or a model's own weights; each row is read with
its instruction and without. Prints for each way the median ratio of CPU time to the first way (range) and the largest
difference, and the time of losses, entropies and two vectors of each row over that of the losses alone.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selectit.config import LossStage, ModelConfig, PoolConfig
from selectit.data.pool import read_pool
from selectit.inference.batch import CPU_BATCH_TOKENS, LossText
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.loaded import Rater
from selectit.inference.token_rater import PackedTokenRater, PaddedTokenRater, entropy, loss
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
    parser.add_argument("--model", help="its weights and its tokenizer, in place of random weights")
    parser.add_argument("--num-rows", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = ModelConfig(path=str(arguments.model or arguments.tokenizer), dtype="float32")
    tokenizer, pool = load_tokenizer(folder), PoolConfig(path=str(arguments.pool), bad_rows="exclude")
    index = index_losses(pool)
    usable = [row.index for row in read_pool(pool) if row.failure is None]
    left_out = np.ones(index.num_rows, dtype=bool)
    left_out[random.Random(0).sample(usable, arguments.num_rows)] = False
    stages = [LossStage(pool=pool, model=folder, text=text, template="alpaca") for text in ("conditioned", "marker")]
    torch.manual_seed(0)
    random_model = LlamaConfig(**SHAPE, vocab_size=len(tokenizer))
    model: Any = load_model(folder) if arguments.model else LlamaForCausalLM(random_model).eval()
    everything = (loss, entropy), ("mean", "weighted_mean")

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
        "padded, all quantities": batched(PaddedTokenRater(model, *everything)),
        "packed": batched(PackedTokenRater(model, (loss,))),
        "packed, all quantities": batched(PackedTokenRater(model, *everything)),
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
    for name in ("padded, sorted", "packed"):
        more = seconds[f"{name.partition(',')[0]}, all quantities"]
        ratios = [one / other for one, other in zip(more, seconds[name], strict=True)]
        print(
            f"{name.partition(',')[0]}: loss, entropy, mean and weighted mean take {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f}-{max(ratios):.3f}) times the loss alone"
        )


if __name__ == "__main__":
    main()
