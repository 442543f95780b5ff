"""The score stage: one rater over one pool, every row under every rating prompt.

Reads the pool and the model; writes ledger.parquet and score.json. Goes on where a killed run was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import ScoreStage
from selectit.data import Row, read_pool
from selectit.errors import UserError
from selectit.models import load_model, load_tokenizer
from selectit.scoring.ledger import LedgerWriter, Record
from selectit.scoring.prompts import SUFFIX, rating_text
from selectit.scoring.rater import Text, batches, rating_probabilities
from selectit.scoring.ratings import rating_token_ids
from selectit.tracking import Tracker


def preflight(config: ScoreStage) -> None:
    """Raises: UserError for a pool that cannot be read or a tokenizer that cannot rate."""
    rows = [row for row in read_pool(config.pool) if row.failure is None]
    _rating_ids(load_tokenizer(config.model), config, rows)


def run(config: ScoreStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Returns: number of rows, ratings, failures and truncated texts, mean mass on the rating tokens."""
    rows = read_pool(config.pool)
    usable = [row for row in rows if row.failure is None]
    tokenizer = load_tokenizer(config.model)
    rating_ids = _rating_ids(tokenizer, config, usable)
    model = load_model(config.model)
    context = getattr(model.config, "max_position_embeddings", None)
    writer = LedgerWriter(out)
    done = writer.done()
    texts = list(_texts(tokenizer, config, usable, done))
    total = len(usable) * len(config.prompts)
    with tracker.progress("rating", total) as advance:
        advance(len(done))
        for batch in batches(texts, config.batch_tokens):
            try:
                probabilities = rating_probabilities(model, batch, rating_ids)
            except IndexError as error:  # learned positions end at the context, rotary ones do not
                longest = max(len(text.ids) for text in batch)
                raise UserError(
                    f"{config.model.path} cannot read a rating text of {longest} tokens (its context is {context}); "
                    f"set score.max_length to at most {context}: longer responses then lose their end"
                ) from error
            writer.add([_record(text, p) for text, p in zip(batch, probabilities, strict=True)])
            advance(len(batch))
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
    }
    details = {
        "rating_token_ids": dict(zip("12345", rating_ids, strict=True)),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
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


def _texts(
    tokenizer: PreTrainedTokenizerBase,
    config: ScoreStage,
    rows: Sequence[Row],
    done: set[tuple[str, int]],
) -> Iterator[Text]:
    """Rating texts that are not in the ledger, tokenised whole, the response cut where they are too long."""
    limit = config.max_length
    for number, prompt in enumerate(config.prompts):
        wanted = [row for row in rows if (row.row_id, number) not in done]
        if not wanted:
            continue
        written = [rating_text(prompt, row.instruction, row.response) for row in wanted]
        encoded = tokenizer(written, return_offsets_mapping=limit is not None, verbose=False)
        for at, row in enumerate(wanted):
            ids, truncated = encoded["input_ids"][at], False
            if limit is not None and len(ids) > limit:
                start = len(written[at]) - len(SUFFIX)
                tail = sum(1 for _, end in encoded["offset_mapping"][at] if end > start)
                ids, truncated = ids[: limit - tail] + ids[len(ids) - tail :], True
            yield Text((row.row_id, number), ids, truncated)


def _record(text: Text, probabilities: np.ndarray) -> Record:
    row_id, prompt = text.key
    mass = float(probabilities.sum())
    good = np.isfinite(probabilities).all() and mass > 0
    return Record(
        row_id, prompt,
        probabilities=[float(p) for p in probabilities] if good else None,
        mass=mass if good else None,
        num_tokens=len(text.ids),
        truncated=text.truncated,
        failure=None if good else "no_rating_probability",
    )  # fmt: skip
