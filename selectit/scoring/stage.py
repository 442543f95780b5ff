"""The score stage: one rater over one pool, every row under every rating prompt.

Reads the pool, the model and earlier ledgers; writes ledger.parquet and score.json. Goes on where a killed run was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from selectit.config import ScoreStage
from selectit.inference.quantised import check_quantization
from selectit.inference.vllm_client import check_vllm
from selectit.scoring.ledger import drop_parts, ratings_of
from selectit.scoring.notes import notes
from selectit.scoring.rated_rows import num_answers
from selectit.scoring.rating import Rating
from selectit.scoring.reuse import basis
from selectit.scoring.verify import verify
from selectit.scoring.work import ShareTask, complete
from selectit.store.names import SCORE_RECORD, VERIFICATION
from selectit.tracking import Tracker


def preflight(config: ScoreStage) -> None:
    """Raises: UserError for a pool that cannot be read, a tokenizer that cannot rate, texts that are too long, a
    quantised model that cannot be loaded here, or a Python without vLLM where it is to rate."""
    if config.backend == "vllm":
        check_vllm(config.model, config.vllm_python, "score")
    check_quantization(config)
    Rating(config).refuse_long()


def run(
    config: ScoreStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker, earlier: Sequence[Path] = ()
) -> dict[str, Any]:
    """Rate what neither this folder nor an earlier one holds.

    Args:    earlier: finished score artifacts of the same checkpoint.
    Returns: number of rows, ratings, failures, truncated texts and reused ratings, mean mass on the rating
             tokens, speed.
    Raises:  NotRun where the rating processes are started by hand and have not done it all.
    """
    rating = Rating(config, earlier)
    ledger, work = complete(
        rating, ShareTask(stage=config, out=out.resolve(), earlier=tuple(path.resolve() for path in earlier)), tracker
    )
    facts, index, tokenizer = work.facts, rating.index, rating.tokenizer

    found = summarise(ledger, facts.context)
    failures = index.failures + Counter(found.pop("failures"))
    summary = {
        "num_rows": index.num_rows if config.turns != "mean" else len(num_answers(config.pool, config.turns)),
        "num_failures": sum(failures.values()),
        **found,
        "tokens_per_second": work.tokens_per_second,
    }
    details = {
        **basis(rating.rating_ids, facts.dtype, facts.rater, facts.device),
        "num_parameters": facts.num_parameters,
        "engine": facts.engine,
        "reads_alone": facts.reads_alone,
        "placement": facts.placement,
        "num_processes": work.num_processes,
        "batch_tokens": work.batch_tokens,
        "max_length": config.max_length,
        "long_rows": config.long_rows,
        "turns": config.turns,
        "num_answers": index.num_rows,
        "template": config.template,
        "text_alone": rating.rating_tokens.text_alone,
        "context": facts.context,
        "adds_bos": bool(tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id),
        "peak_memory_mb": work.peak_memory_mb,
        "failures": dict(failures),
        "prompts": list(config.prompts),
    }
    (out / SCORE_RECORD).write_text(json.dumps({**summary, **details}, indent=2, ensure_ascii=False) + "\n")
    if facts.is_offloaded:
        tracker.note(f"the rater lies on {', '.join(facts.placement)}: a part of its weights is moved for every batch")
    for line in notes({**summary, **details}):
        tracker.note(line)
    tracker.log({f"score/{name}": value for name, value in summary.items() if name != "taken_over"})
    if config.verify:
        found = verify(config, out, config.verify, "corrected", tracker)  # as a selection that names no fidelity
        if not found["agrees"]:
            tracker.note(
                "a sentence-level score differs from one row at a time in float32 by "
                f"{found['max_sentence_score_difference']:.2g}, beyond {found['tolerance']:g}: "
                f"see {VERIFICATION}"
            )
    drop_parts(out)
    return {**summary, "peak_memory_mb": work.peak_memory_mb}


def summarise(ledger: Path, context: int | None) -> dict[str, Any]:
    """Counts and means of a finished ledger, read a row group at a time."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    mass = 0.0
    spread = _Spread()
    columns = ["prompt", "probabilities", "mass", "num_tokens", "truncated", "failure", "taken_from"]
    for table in _row_groups(ledger, columns):
        spread.add(table.filter(compute.is_null(table["failure"])))
        rated = table["mass"].drop_null().to_numpy()
        num_tokens = table["num_tokens"].to_numpy()
        mass += float(rated.sum())
        counts["num_ratings"] += len(rated)
        counts["num_tokens"] += int(num_tokens.sum())
        counts["num_truncated"] += int(table["truncated"].to_numpy().sum())
        whole = table["failure"].is_null().to_numpy()
        counts["num_over_context"] += int((num_tokens[whole] > context).sum()) if context else 0
        failures.update(value_counts(table["failure"]))
        sources.update(value_counts(table["taken_from"]))
    return {
        "num_ratings": counts["num_ratings"],
        "num_taken_over": sum(sources.values()),
        "num_truncated": counts["num_truncated"],
        "num_over_context": counts["num_over_context"],
        "mean_mass": mass / counts["num_ratings"] if counts["num_ratings"] else 0.0,
        "num_tokens": counts["num_tokens"],
        "answer_spread": spread.largest,
        "taken_over": dict(sources),
        "failures": dict(failures),
    }


class _Spread:
    """How far a rater's answers to one rating prompt lie apart, at most: 0 where it answers every row alike."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, table: Any) -> None:
        """Args: table: records without a failure."""
        prompts, shares = table["prompt"].to_numpy(), ratings_of(table)
        shares = shares / shares.sum(axis=1, keepdims=True)
        for prompt in np.unique(prompts).tolist():
            own = shares[prompts == prompt]
            low, high = self._ends.get(prompt, (own[0], own[0]))
            self._ends[prompt] = np.minimum(low, own.min(axis=0)), np.maximum(high, own.max(axis=0))

    @property
    def largest(self) -> float:
        """Of the share of a rating among the five."""
        return max((float((high - low).max()) for low, high in self._ends.values()), default=0.0)


def _row_groups(ledger: Path, columns: list[str]) -> Iterator[Any]:
    with parquet.ParquetFile(ledger) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=columns)


def value_counts(column: Any) -> Counter[str]:
    counted = compute.value_counts(column.drop_null())
    return Counter({pair["values"].as_py(): pair["counts"].as_py() for pair in counted})
