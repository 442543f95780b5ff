"""What rating a pool will cost, before it is rated: texts, tokens, operations, hours.

Tokenises the whole pool. Weights are loaded only where the hours are measured, on a sample of the real texts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from selectit.config import ScoreStage
from selectit.cost.batch_flops import Matrices, batch_flops, prefix_flops
from selectit.errors import UserError
from selectit.inference.batch import Batch, Text, batches, common_prefix, num_tokens
from selectit.inference.load import device, load_skeleton, load_tokenizer, resolve_dtype
from selectit.inference.packed import obstacle
from selectit.inference.quantised import method_of, told_dtype
from selectit.scoring.rating import load_rater, rating_tokens_of
from selectit.scoring.takeover import EarlierRatings, basis, digest_of
from selectit.scoring.texts import index_ratings, rating_batches
from selectit.scoring.work import tokens_of_a_batch

SAMPLE_TEXTS = 512
MEASURED_SECONDS = 20.0
SEED = 0


@dataclass
class Price:
    num_rows: int
    num_records: int
    """Usable rows times rating prompts."""
    num_taken_over: int = 0
    """Distinct texts that earlier ledgers hold."""
    num_too_long: int = 0
    num_texts: int = 0
    """Distinct texts that must be rated."""
    num_tokens: int = 0
    num_positions: int = 0
    """Tokens that pass the model: without those of shared prefixes but one, with padding where the path pads."""
    flops: float = 0.0
    rater: str = ""
    sample: list[Text] = field(default_factory=list)


@dataclass(frozen=True)
class Speed:
    """Floating-point operations per second, and where the number is from."""

    flops_per_second: float
    told: str


def price(config: ScoreStage, earlier: Sequence[Path] = ()) -> Price:
    """Count everything; the model's configuration is read, its weights are not.

    Args: earlier: finished score artifacts of the same checkpoint.
    """
    index = index_ratings(config.pool, config.turns)
    tokenizer = load_tokenizer(config.model)
    rating_ids = rating_tokens_of(tokenizer, config, index.examples, index.failures).ids
    skeleton = load_skeleton(config.model)
    matrices, dtype, kind = Matrices.of(skeleton), resolve_dtype(config.model), device().type
    is_quantised = config.quantization != "none" or method_of(config.model) is not None
    packs = not is_quantised and obstacle(skeleton) is None and (kind != "cpu" or dtype == torch.float32)
    rater = "vllm" if config.backend == "vllm" else "packed" if packs else "stock"
    pads = rater == "stock"
    found = Price(index.num_rows, index.num_usable * len(config.prompts), rater=rater)
    answers = EarlierRatings(
        earlier, basis(rating_ids, told_dtype(dtype, config.quantization, config.model), found.rater, kind)
    )
    draw, prefix = random.Random(SEED), None

    def unanswered(texts: list[Text]) -> list[Text]:
        short = [text for text in texts if text.failure is None]
        found.num_too_long += len(texts) - len(short)
        if not short:
            return []
        known = answers.answer(config.prompts[short[0].keys[0][1]], [digest_of(text.ids) for text in short])
        left = [text for text, answer in zip(short, known, strict=True) if answer is None]
        found.num_taken_over += len(short) - len(left)
        return left

    batch_tokens = tokens_of_a_batch(config, kind)
    none_done = np.zeros((len(config.prompts), index.num_rows), dtype=bool)
    for batch in rating_batches(tokenizer, config, index, none_done, batch_tokens, pads, unanswered):
        if not pads and batch.prefix != prefix:
            prefix = batch.prefix
            found.num_positions += len(prefix)
            found.flops += prefix_flops(matrices, prefix)
        found.flops += batch_flops(matrices, batch, pads)
        found.num_positions += num_tokens(batch, pads)
        for text in batch.texts:
            found.num_texts += 1
            found.num_tokens += len(text.ids)
            if len(found.sample) < SAMPLE_TEXTS:
                found.sample.append(text)
            elif (place := draw.randrange(found.num_texts)) < SAMPLE_TEXTS:
                found.sample[place] = text
    return found


def measured(config: ScoreStage, priced: Price) -> Speed:
    """Rate texts of the sample for some seconds on this device.

    Raises: UserError where nothing is left to rate.
    """
    if not priced.sample:
        raise UserError("nothing is left to rate, so there is no text to measure the speed on")
    tokenizer = load_tokenizer(config.model)
    index = index_ratings(config.pool, config.turns)
    rating_ids = rating_tokens_of(tokenizer, config, index.examples, index.failures).ids
    matrices = Matrices.of(load_skeleton(config.model))
    groups: dict[int, list[Text]] = {}
    for text in priced.sample:
        groups.setdefault(text.keys[0][1], []).append(text)
    flops, num_texts, prefix = 0.0, 0, None
    with load_rater(config, rating_ids, config.num_processes) as rater:
        limit = tokens_of_a_batch(config, rater.facts.device)
        work = [b for texts in groups.values() for b in batches(texts, common_prefix(texts), limit, rater.pads)]
        random.Random(SEED).shuffle(work)  # or only the longest would be measured
        pending = rater.plan(iter(work))
        # each process loads its model and warms up: vLLM with one text, for it would remember the whole batch
        first = Batch(work[0].texts[:1], work[0].prefix) if rater.facts.rater == "vllm" else work[0]
        for _ in rater.rate([first] * rater.num_processes):
            pass
        started = time.monotonic()
        for batch, _ in rater.rate(pending):
            flops += batch_flops(matrices, batch, rater.pads)
            if not rater.pads and batch.prefix != prefix:
                prefix = batch.prefix
                flops += prefix_flops(matrices, prefix)
            num_texts += len(batch.texts)
            if time.monotonic() - started > MEASURED_SECONDS:
                break
    seconds = time.monotonic() - started
    where = f"{rater.num_processes} processes" if rater.num_processes > 1 else "one process"
    return Speed(
        flops / seconds,
        f"measured on {rater.facts.device}, {where}: {num_texts} texts of the pool in {seconds:.1f} s, "
        f"{flops / seconds / 1e9:,.1f} GFLOP/s",
    )


def stated(tflops: float, utilisation: float) -> Speed:
    """Raises: UserError for a share that is none."""
    if not 0 < utilisation <= 1 or tflops <= 0:
        raise UserError(
            f"--tflops {tflops:g} --utilisation {utilisation:g}: the peak must be above 0, and the share of it that "
            "scoring reaches between 0 and 1, such as 0.4"
        )
    return Speed(tflops * 1e12 * utilisation, f"stated, not measured: {utilisation:.0%} of {tflops:g} TFLOP/s")


def told(config: ScoreStage, priced: Price, speed: Speed | None) -> list[str]:
    """Lines for the person who asked. Args: speed: None where nothing is left to rate."""
    known = f", {priced.num_taken_over:,} taken over" if priced.num_taken_over else ""
    long = f", {priced.num_too_long:,} too long to be rated" if priced.num_too_long else ""
    lines = [
        f"{priced.num_rows:,} rows, {len(config.prompts)} rating prompts: {priced.num_records:,} ratings; "
        f"{priced.num_texts:,} distinct texts to rate{known}{long}",
        f"{priced.num_tokens:,} tokens; {_positions_told(priced)}",
        f"{priced.flops:.3g} floating-point operations",
    ]
    if speed is not None:
        seconds = priced.flops / speed.flops_per_second
        lines.append(f"{_duration(seconds)} ({speed.told})")
    return lines


def _positions_told(priced: Price) -> str:
    difference = priced.num_tokens - priced.num_positions
    if priced.rater != "stock":
        return f"shared prefixes save {difference:,} of them ({priced.rater} path)"
    return f"padding adds {-difference:,} (stock path)"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds:.0f} seconds"
