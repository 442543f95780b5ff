"""The score stage: one rater over one pool, every row under every rating prompt.

Reads the pool and the model; writes ledger.parquet and score.json. Goes on where a killed run was.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import ScoreStage
from selectit.data import Row, read_pool
from selectit.errors import UserError
from selectit.models import load_model, load_tokenizer
from selectit.scoring.ledger import LedgerWriter, Record
from selectit.scoring.processes import processes_for, rate_all
from selectit.scoring.prompts import rating_text
from selectit.scoring.rater import Text, make_rater
from selectit.scoring.ratings import rating_token_ids
from selectit.scoring.texts import rating_batches
from selectit.tracking import Tracker

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 16384
"""Tokens of one forward pass where the recipe does not say; docs/performance.md has what was measured."""


def preflight(config: ScoreStage) -> None:
    """Raises: UserError for a pool that cannot be read or a tokenizer that cannot rate."""
    rows = [row for row in read_pool(config.pool) if row.failure is None]
    _rating_ids(load_tokenizer(config.model), config, rows)


def run(config: ScoreStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Returns: number of rows, ratings, failures and truncated texts, mean mass on the rating tokens, speed."""
    rows = read_pool(config.pool)
    usable = [row for row in rows if row.failure is None]
    tokenizer = load_tokenizer(config.model)
    rating_ids = _rating_ids(tokenizer, config, usable)
    model = load_model(config.model)
    rater = make_rater(model, rating_ids)
    context = getattr(model.config, "max_position_embeddings", None)
    batch_tokens = config.batch_tokens or (GPU_BATCH_TOKENS if model.device.type == "cuda" else CPU_BATCH_TOKENS)
    writer = LedgerWriter(out)
    done = writer.done()
    pending = rating_batches(tokenizer, config, usable, done, batch_tokens, rater.pads)
    num_processes, pending = processes_for(pending, model.device, config.num_processes)
    started, num_rated = time.monotonic(), 0
    with tracker.progress("rating", len(usable) * len(config.prompts)) as advance:
        advance(len(done))
        for batch, probabilities in rate_all(rater, pending, num_processes):
            records = [r for text, p in zip(batch.texts, probabilities, strict=True) for r in _records(text, p)]
            writer.add(records)
            num_rated += sum(record.num_tokens for record in records)
            advance(len(records))
    seconds = time.monotonic() - started
    table = writer.finish([row.row_id for row in rows])

    failures = Counter(f for f in table["failure"].to_pylist() if f)
    failures.update(row.failure for row in rows if row.failure)
    mass = np.array([m for m in table["mass"].to_pylist() if m is not None])
    summary = {
        "num_rows": len(rows),
        "num_ratings": len(mass),
        "num_failures": sum(failures.values()),
        "num_truncated": sum(table["truncated"].to_pylist()),
        "num_over_context": sum(n > context for n in table["num_tokens"].to_pylist()) if context else 0,
        "mean_mass": float(mass.mean()) if len(mass) else 0.0,
        "num_tokens": sum(table["num_tokens"].to_pylist()),
        "tokens_per_second": num_rated / seconds,
    }
    details = {
        "rating_token_ids": dict(zip("12345", rating_ids, strict=True)),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "rater": rater.name,
        "num_processes": num_processes,
        "batch_tokens": batch_tokens,
        "max_length": config.max_length,
        "context": context,
        "adds_bos": bool(tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id),
        "failures": dict(failures),
        "prompts": list(config.prompts),
    }
    (out / "score.json").write_text(json.dumps({**summary, **details}, indent=2, ensure_ascii=False) + "\n")
    if summary["num_over_context"]:
        tracker.note(
            f"{summary['num_over_context']} rating texts are longer than the model's context of {context} tokens; "
            "they were rated whole, as the released code does. score.max_length cuts them."
        )
    tracker.log({f"score/{name}": value for name, value in summary.items()})
    return summary


def _rating_ids(tokenizer: PreTrainedTokenizerBase, config: ScoreStage, rows: Sequence[Row]) -> list[int]:
    if not rows:
        raise UserError(f"pool {config.pool.path}: no row can be rated; every row has an empty instruction or response")
    by_length = sorted(rows, key=lambda row: len(row.response))
    proven = {by_length[i].row_id: by_length[i] for i in (0, len(rows) // 2, -1)}
    return rating_token_ids(
        tokenizer, (rating_text(p, r.instruction, r.response) for r in proven.values() for p in config.prompts)
    )


def _records(text: Text, probabilities: np.ndarray) -> list[Record]:
    mass = float(probabilities.sum())
    good = np.isfinite(probabilities).all() and mass > 0
    return [
        Record(
            row_id, prompt,
            probabilities=[float(p) for p in probabilities] if good else None,
            mass=mass if good else None,
            num_tokens=len(text.ids),
            truncated=text.truncated,
            failure=None if good else "no_rating_probability",
        )
        for row_id, prompt in text.keys
    ]  # fmt: skip
