"""The score stage: one rater over one pool, every row under every rating prompt.

Reads the pool, the model and earlier ledgers; writes ledger.parquet and score.json. Goes on where a killed run was.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import ScoreStage
from selectit.inference.batch import Text
from selectit.inference.quantised import check_quantization
from selectit.inference.vllm_client import check_vllm
from selectit.scoring.ledger import drop_parts
from selectit.scoring.notes import notes
from selectit.scoring.rated_rows import num_answers
from selectit.scoring.rating import Rating, records_of
from selectit.scoring.reuse import EarlierRatings, basis
from selectit.scoring.summary import summarise
from selectit.scoring.texts import rating_batches
from selectit.scoring.verify import verify
from selectit.scoring.watch import watching
from selectit.scoring.work import ShareTask, WorkDone, done_elsewhere, finish, working
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
    rating = Rating(config)
    task = ShareTask(stage=config, out=out.resolve(), earlier=tuple(path.resolve() for path in earlier))
    if config.launcher == "external":
        done = done_elsewhere(rating, task)
    else:
        done = rate(rating, task, tracker, config.num_processes)
    ledger, work = finish(rating, out, done)
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
        **work.describe(),
        "max_length": config.max_length,
        "long_rows": config.long_rows,
        "turns": config.turns,
        "num_answers": index.num_rows,
        "template": config.template,
        "text_alone": rating.rating_tokens.text_alone,
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
    tracker.log({f"score/{name}": value for name, value in summary.items() if name != "reused_from"})
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


def rate(
    rating: Rating, task: ShareTask, tracker: Tracker, num_processes: int | None, share: tuple[int, int] | None = None
) -> WorkDone:
    """Write a record for every text that neither the stage's folder nor an earlier ledger holds, in this process and
    those that it starts.

    Args:   share: rank and world size, where other processes do the rest of it at the same time.
    Raises: UserError, see `working`; for a text that does not fit into memory, or is too long and not to be.
    """
    config, index, name = rating.config, rating.index, Path(rating.config.model.path).name
    with working(rating, task.out, num_processes, share) as work:
        rater, facts = work.rater, work.rater.facts
        earlier = EarlierRatings(task.earlier, basis(rating.rating_ids, facts.dtype, facts.rater, facts.device))
        total = int(work.mine.sum()) * len(config.prompts)
        written_down = threading.Lock()  # batches are made, and what needs no rating is recorded, in a thread
        with watching(tracker, total, name, len(config.prompts)) as watch:
            watch.done(int(np.count_nonzero(work.done & work.mine)))

            def left_to_rate(texts: list[Text]) -> list[Text]:
                """The ratings of the others, or why they have none, are written down."""
                left, known = rating.known(texts, earlier)
                with written_down:
                    work.writer.add(known)
                    watch.done(len(known))
                return left

            pending = rating_batches(
                rating.tokenizer, config, index, work.done, work.batch_tokens, rater.pads, left_to_rate, work.share
            )
            for batch, probabilities in rater.rate(rater.plan(pending)):
                records = [r for text, p in zip(batch.items, probabilities, strict=True) for r in records_of(text, p)]
                with written_down:
                    work.writer.add(records)
                    watch.rated(records, sum(len(text.ids) for text in batch.items))
        work.num_tokens, work.peak_memory_mb = watch.num_tokens, watch.peak_memory_mb
    return work.record
