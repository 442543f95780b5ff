"""The score stage: one rater over one pool, every row under every rating prompt.

Reads the pool, the model and earlier ledgers; writes ledger.parquet and score.json. Goes on where a killed run was.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as compute
import pyarrow.parquet as parquet
from transformers import PreTrainedTokenizerBase

from selectit.config import ScoreStage
from selectit.data import Row
from selectit.errors import UserError
from selectit.models import load_tokenizer
from selectit.scoring.ledger import LedgerWriter, Record
from selectit.scoring.processes import LoadedRater
from selectit.scoring.prompts import rating_text
from selectit.scoring.rater import Text, make_rater
from selectit.scoring.ratings import rating_token_ids
from selectit.scoring.takeover import DETAILS, EarlierRatings, basis, digest_of
from selectit.scoring.texts import index_ratings, rating_batches, rating_texts
from selectit.scoring.watch import Watch, watching
from selectit.tracking import Tracker

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 16384
"""Tokens of one forward pass where the recipe does not say; docs/performance.md has what was measured."""
TOO_LONG = "too_long"
MOST_SHOWN = 5


def preflight(config: ScoreStage) -> None:
    """Raises: UserError for a pool that cannot be read, a tokenizer that cannot rate, or texts that are too long."""
    index = index_ratings(config.pool)
    tokenizer = load_tokenizer(config.model)
    rating_ids_of(tokenizer, config, index.examples)
    if config.long_rows == "fail" and config.max_length is not None:
        for number, prompt in enumerate(config.prompts):
            chunks = index.groups(np.zeros(index.num_rows, dtype=bool))
            texts = (rating_texts(tokenizer, groups, number, prompt, config.max_length, "fail") for groups in chunks)
            _refuse_long(config, itertools.chain.from_iterable(texts))


def run(
    config: ScoreStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker, earlier: Sequence[Path] = ()
) -> dict[str, Any]:
    """Rate what neither this folder nor an earlier one holds.

    Args:    earlier: finished score artifacts of the same checkpoint.
    Returns: number of rows, ratings, failures, truncated texts and ratings taken over, mean mass on the rating
             tokens, speed.
    """
    index = index_ratings(config.pool)
    tokenizer = load_tokenizer(config.model)
    rating_ids = rating_ids_of(tokenizer, config, index.examples)
    writer = LedgerWriter(out)
    done = writer.done(index.row_ids, range(len(config.prompts)))
    make = functools.partial(make_rater, rating_ids=rating_ids)
    with (
        LoadedRater(config.model, make, config.num_processes) as rater,
        watching(
            tracker, index.num_usable * len(config.prompts), Path(config.model.path).name, len(config.prompts)
        ) as w,
    ):
        facts = rater.facts
        decides = basis(rating_ids, facts.dtype, facts.rater, facts.device)
        batch_tokens = tokens_of_a_batch(config, facts.device)
        answers = EarlierRatings(earlier, decides)
        w.done(int(done.sum()))

        def unanswered(texts: Sequence[Text]) -> list[Text]:
            return _unanswered(config, texts, answers, writer, w)

        pending = rating_batches(tokenizer, config, index, done, batch_tokens, rater.pads, unanswered)
        for batch, probabilities in rater.rate(rater.plan(pending)):
            records = [r for text, p in zip(batch.texts, probabilities, strict=True) for r in _records(text, p)]
            writer.add(records)
            w.rated(records, sum(len(text.ids) for text in batch.texts))
    ledger = writer.finish(index.row_ids)

    found = summarise(ledger, facts.context)
    failures = index.failures + Counter(found.pop("failures"))
    summary = {
        "num_rows": index.num_rows,
        "num_failures": sum(failures.values()),
        **found,
        "tokens_per_second": w.tokens_per_second,
    }
    details = {
        **decides,
        "num_parameters": facts.num_parameters,
        "placement": facts.placement,
        "num_processes": rater.num_processes,
        "batch_tokens": batch_tokens,
        "max_length": config.max_length,
        "long_rows": config.long_rows,
        "context": facts.context,
        "adds_bos": bool(tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id),
        "peak_memory_mb": w.peak_memory_mb,
        "failures": dict(failures),
        "prompts": list(config.prompts),
    }
    (out / DETAILS).write_text(json.dumps({**summary, **details}, indent=2, ensure_ascii=False) + "\n")
    if facts.is_offloaded:
        tracker.note(f"the rater lies on {', '.join(facts.placement)}: a part of its weights is moved for every batch")
    if summary["num_over_context"]:
        tracker.note(
            f"{summary['num_over_context']} rating texts are longer than the model's context of {facts.context} "
            "tokens; they were rated whole, as the released code does. score.max_length cuts them."
        )
    tracker.log({f"score/{name}": value for name, value in summary.items() if name != "taken_over"})
    return {**summary, "peak_memory_mb": w.peak_memory_mb}


def summarise(ledger: Path, context: int | None) -> dict[str, Any]:
    """Counts and means of a finished ledger, read a row group at a time."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    mass = 0.0
    for table in _row_groups(ledger, ["mass", "num_tokens", "truncated", "failure", "taken_from"]):
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
        "taken_over": dict(sources),
        "failures": dict(failures),
    }


def _row_groups(ledger: Path, columns: list[str]) -> Iterator[Any]:
    with parquet.ParquetFile(ledger) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=columns)


def value_counts(column: Any) -> Counter[str]:
    counted = compute.value_counts(column.drop_null())
    return Counter({pair["values"].as_py(): pair["counts"].as_py() for pair in counted})


def _unanswered(
    config: ScoreStage, texts: Sequence[Text], answers: EarlierRatings, writer: LedgerWriter, watch: Watch
) -> list[Text]:
    """Those of the texts that must be rated; the ratings of the others, or why they have none, are written down."""
    if not texts:
        return []
    if config.long_rows == "fail":
        _refuse_long(config, texts)
    prompt = config.prompts[texts[0].keys[0][1]]
    left = []
    for text, answer in zip(texts, answers.answer(prompt, [digest_of(text.ids) for text in texts]), strict=True):
        if text.too_long:
            records = _records(text, None)
        elif answer is not None:
            records = _records(text, answer.probabilities, answer.source)
        else:
            left.append(text)
            continue
        writer.add(records)
        watch.done(len(records))
    return left


def _refuse_long(config: ScoreStage, texts: Iterable[Text]) -> None:
    longest: list[Text] = []
    num_long = 0
    for text in texts:
        if text.too_long:
            num_long += len(text.keys)
            longest = sorted([*longest, text], key=lambda text: -len(text.ids))[:MOST_SHOWN]
    if longest:
        shown = ", ".join(f"row {text.keys[0][0]}: {len(text.ids)}" for text in longest)
        more = f" and {num_long - len(longest)} more" if num_long > len(longest) else ""
        raise UserError(
            f"pool {config.pool.path}: {num_long} rating texts are longer than score.max_length = "
            f"{config.max_length} tokens ({shown}{more}). Raise it, shorten the rows, or set score.long_rows to "
            "'cut' (responses lose their end) or 'skip' (these rows are not rated)."
        )


def tokens_of_a_batch(config: ScoreStage, device: str) -> int:
    return config.batch_tokens or (GPU_BATCH_TOKENS if device == "cuda" else CPU_BATCH_TOKENS)


def rating_ids_of(tokenizer: PreTrainedTokenizerBase, config: ScoreStage, rows: Sequence[Row]) -> list[int]:
    """Args: rows: some usable ones, as `PoolIndex.examples` has them; the tokenizer is proven on all."""
    if not rows:
        raise UserError(f"pool {config.pool.path}: no row can be rated; every row has an empty instruction or response")
    return rating_token_ids(
        tokenizer, (rating_text(p, r.instruction, r.response) for r in rows for p in config.prompts)
    )


def _records(text: Text, probabilities: np.ndarray | None, source: str | None = None) -> list[Record]:
    """Args: probabilities: None for a text that is not to be rated; source: where they were taken from."""
    mass = 0.0 if probabilities is None else float(probabilities.sum())
    good = probabilities is not None and bool(np.isfinite(probabilities).all()) and mass > 0
    return [
        Record(
            row_id, prompt,
            probabilities=[float(p) for p in probabilities] if good and probabilities is not None else None,
            mass=mass if good else None,
            num_tokens=len(text.ids),
            truncated=text.truncated,
            failure=None if good else TOO_LONG if text.too_long else "no_rating_probability",
            digest=digest_of(text.ids),
            taken_from=source,
        )
        for row_id, prompt in text.keys
    ]  # fmt: skip
