"""What rating a pool will cost, before it is rated: texts, tokens, operations, hours.

Tokenises the whole pool. Weights are loaded only where the hours are measured, on a sample of the real texts.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from selectit.config import ScoreStage
from selectit.cost.flops import BatchCount, Matrices
from selectit.cost.kept import NOTHING, Kept
from selectit.cost.speed import DeviceSpeed
from selectit.errors import UserError
from selectit.inference.batch import (
    PACKED_PATH,
    PADDED_PATH,
    VLLM_PATH,
    Batch,
    Text,
    batches,
    common_prefix,
)
from selectit.inference.load import device, load_skeleton, load_tokenizer, resolve_dtype
from selectit.inference.packed import obstacle
from selectit.inference.quantised import dtype_text, method_of
from selectit.scoring.batch_tokens import tokens_of_a_batch
from selectit.scoring.rating import load_rater, rating_tokens_of
from selectit.scoring.reuse import EarlierRatings, basis, digest_of
from selectit.scoring.texts import index_ratings, rating_batches
from selectit.text import duration

SAMPLE_TEXTS = 512
MEASURED_SECONDS = 20.0
SEED = 0


@dataclass
class ScoreEstimate:
    num_rows: int
    num_records: int
    """Usable rows times rating prompts."""
    rater: str
    count: BatchCount
    """Distinct texts that must be rated."""
    num_recorded: int = 0
    """Records that the stage's unfinished ledger holds."""
    num_reused: int = 0
    """Distinct texts that earlier ledgers hold."""
    num_too_long: int = 0
    sample: list[Text] = field(default_factory=list)


def matrices_of(model: Any) -> Matrices:
    """Of a loaded model or of one on the meta device, of any architecture."""
    head = model.get_output_embeddings().weight
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)} | {id(head)}
    config = model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head_dim
    key_values = 2 * config.hidden_size * head_dim * getattr(config, "num_key_value_heads", 0)
    feed_forward = 3 * config.hidden_size * (getattr(config, "intermediate_size", None) or 0)
    return Matrices(
        layers=sum(p.numel() for p in model.parameters() if p.dim() == 2 and id(p) not in embeddings),
        first=config.hidden_size * width + key_values if config.num_hidden_layers > 1 else 0,
        last=feed_forward + 2 * config.hidden_size * width,  # queries and output projection
        head=head.numel(),
        num_layers=config.num_hidden_layers,
        attention_width=width,
    )


def estimate(config: ScoreStage, kept: Kept = NOTHING) -> ScoreEstimate:
    """Count everything that is not there yet; the model's configuration is read, its weights are not."""
    index = index_ratings(config.pool, config.turns)
    tokenizer = load_tokenizer(config.model)
    rating_ids = rating_tokens_of(tokenizer, config, index.examples, index.failures).ids
    skeleton = load_skeleton(config.model)
    dtype, kind = resolve_dtype(config.model), device().type
    is_quantised = config.quantization != "none" or method_of(config.model) is not None
    packs = not is_quantised and obstacle(skeleton) is None and (kind != "cpu" or dtype == torch.float32)
    rater = VLLM_PATH if config.backend == "vllm" else PACKED_PATH if packs else PADDED_PATH
    count = BatchCount(matrices_of(skeleton), pads=rater == PADDED_PATH)
    found = ScoreEstimate(index.num_rows, index.num_usable * len(config.prompts), rater, count)
    ratings = EarlierRatings(
        kept.earlier, basis(rating_ids, dtype_text(dtype, config.quantization, config.model), rater, kind)
    )
    draw = random.Random(SEED)

    def unrated(texts: list[Text]) -> list[Text]:
        short = [text for text in texts if text.failure is None]
        found.num_too_long += len(texts) - len(short)
        if not short:
            return []
        known = ratings.answer(config.prompts[short[0].keys[0][1]], [digest_of(text.ids) for text in short])
        left = [text for text, rating in zip(short, known, strict=True) if rating is None]
        found.num_reused += len(short) - len(left)
        return left

    done = kept.records(config, index.row_ids)
    found.num_recorded = int(np.count_nonzero(done))
    limit, num_texts = tokens_of_a_batch(config, kind), 0
    for batch in rating_batches(tokenizer, config, index, done, limit, count.pads, unrated):
        count.add(batch)
        for text in batch.items:
            num_texts += 1
            if len(found.sample) < SAMPLE_TEXTS:
                found.sample.append(text)
            elif (place := draw.randrange(num_texts)) < SAMPLE_TEXTS:
                found.sample[place] = text
    return found


def measured(config: ScoreStage, found: ScoreEstimate) -> DeviceSpeed:
    """Rate texts of the sample for some seconds on this device.

    Raises: UserError where nothing is left to rate.
    """
    if not found.sample:
        raise UserError("nothing is left to rate, so there is no text to measure the speed on")
    tokenizer = load_tokenizer(config.model)
    index = index_ratings(config.pool, config.turns)
    rating_ids = rating_tokens_of(tokenizer, config, index.examples, index.failures).ids
    groups: dict[int, list[Text]] = {}
    for text in found.sample:
        groups.setdefault(text.keys[0][1], []).append(text)
    with load_rater(config, rating_ids, config.num_processes) as rater:
        limit, count = tokens_of_a_batch(config, rater.facts.device), BatchCount(found.count.matrices, rater.pads)
        work = [b for texts in groups.values() for b in batches(texts, common_prefix(texts), limit, rater.pads)]
        random.Random(SEED).shuffle(work)  # or only the longest would be measured
        pending = rater.plan(iter(work))
        # each process loads its model and warms up: vLLM with one text, for it would remember the whole batch
        first = Batch(work[0].items[:1], work[0].prefix) if rater.facts.rater == VLLM_PATH else work[0]
        for _ in rater.rate([first] * rater.num_processes):
            pass
        started = time.monotonic()
        for batch, _ in rater.rate(pending):
            count.add(batch)
            if time.monotonic() - started > MEASURED_SECONDS:
                break
    seconds = time.monotonic() - started
    where = f"{rater.num_processes} processes" if rater.num_processes > 1 else "one process"
    return DeviceSpeed(
        count.flops / seconds,
        1.0,
        f"measured on {rater.facts.device}, {where}: {count.num_texts:.0f} texts of the pool in {seconds:.1f} s, "
        f"{count.flops / seconds / 1e9:,.1f} GFLOP/s",
        on_gpu=rater.facts.device == "cuda",
    )


def estimate_lines(config: ScoreStage, found: ScoreEstimate, speed: DeviceSpeed | None) -> list[str]:
    """For the person who asked. Args: speed: None where nothing is left to rate."""
    count = found.count
    known = f", {found.num_reused:,} reused" if found.num_reused else ""
    begun = f", {found.num_recorded:,} of them in the unfinished ledger" if found.num_recorded else ""
    long = f", {found.num_too_long:,} too long to be rated" if found.num_too_long else ""
    saved = count.num_tokens - count.num_positions
    positions = (
        f"padding adds {-saved:,} (padded path)"
        if count.pads
        else f"shared prefixes save {saved:,} of them ({found.rater} path)"
    )
    lines = [
        f"{found.num_rows:,} rows, {len(config.prompts)} rating prompts: {found.num_records:,} ratings{begun}; "
        f"{count.num_texts:,} distinct texts to rate{known}{long}",
        f"{count.num_tokens:,} tokens; {positions}",
        f"{count.flops:.3g} floating-point operations",
    ]
    if speed is not None:
        lines.append(f"{duration(speed.seconds(count.flops))} ({speed})")
    return lines
