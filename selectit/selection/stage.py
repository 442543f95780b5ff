"""The select stage: from a pool (and ledgers) to a subset.

Reads the pool and the ledgers of its raters or losses; writes the subset in the pool's own format,
messages.jsonl for training, scores.jsonl with one line per row of the pool, and selection.json.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from selectit.config import (
    FullSelect,
    IFDSelect,
    Length,
    LengthSelect,
    PerplexitySelect,
    PoolConfig,
    RandomMatchedSelect,
    RandomRestSelect,
    RandomSelect,
    SelectITSelect,
    SelectStage,
)
from selectit.data.jsonl import iter_jsonl, write_jsonl
from selectit.data.pool import iter_pool, write_rows
from selectit.errors import UserError
from selectit.inference.batch import NO_RESPONSE_TOKEN
from selectit.scoring.formula import model_scores, sentence_scores, token_scores
from selectit.scoring.ledger import NOT_SCORED, TOO_LONG, read_ratings
from selectit.scoring.notes import failures_text
from selectit.scoring.rated_rows import ids_of_answers, num_answers
from selectit.selection.losses import Detail, ifd_scores, middle_first, perplexity_scores
from selectit.selection.strategies import length_scores, matched, num_selected, random_scores, ranking
from selectit.selection.ties import tie_lines, ties_of
from selectit.store.names import LEDGER, MESSAGES_FILE, SCORE_RECORD, SCORES_FILE, SELECTION_FILE
from selectit.tracking import Tracker

TAKEN = "taken_by_the_other_arm"
BIN_FULL = "length_bin_full"
LEFT_OUT = (TAKEN, BIN_FULL)
"""Not failures: rows that a strategy leaves out by its own rule."""
CHUNK_ROWS = 4096


def preflight(config: SelectStage) -> None:
    """Raises: UserError for a pool that cannot be read or a ratio that selects nothing."""
    failures = [row.failure for row in iter_pool(config.pool)]
    usable = failures.count(None)
    if not isinstance(config.select, FullSelect | RandomMatchedSelect):
        count = num_selected(config.select.ratio, len(failures), usable)
        if isinstance(config.select, PerplexitySelect) and config.select.order == "mid":
            middle_first(range(len(failures)), usable, count)
    if isinstance(config.select, SelectITSelect):
        _check_fidelity(config)


def run(config: SelectStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Returns: rows of the pool, rows selected, rows that could not be scored, and the lowest selected score."""
    row_ids, failures, response_chars = _read(config.pool)
    num_rows = len(row_ids)
    details: list[Detail] = []
    scores = _scores(config, row_ids, inputs, failures, details)
    scores = np.where([failure is None for failure in failures], scores, np.nan)
    eligible = int(np.isfinite(scores).sum())
    if isinstance(config.select, FullSelect | RandomMatchedSelect):
        count = eligible
    else:
        count = num_selected(config.select.ratio, num_rows, eligible)
    order = ranking(scores)
    if isinstance(config.select, PerplexitySelect) and config.select.order == "mid":
        order = middle_first(order, eligible, count)
    rank = np.empty(num_rows, dtype=np.int64)
    rank[order] = np.arange(1, num_rows + 1)
    selected = rank <= count
    ties = ties_of(config, scores, selected)

    path = write_rows(config.pool, (row for row in iter_pool(config.pool) if selected[row.index]), out)
    write_jsonl(
        out / MESSAGES_FILE,
        (
            {
                "row_id": row.row_id,
                "messages": list(row.messages),
                **({"score": float(scores[row.index])} if config.keeps_scores else {}),
            }
            for row in iter_pool(config.pool)
            if selected[row.index]
        ),
    )
    write_jsonl(
        out / SCORES_FILE,
        (
            {
                "row": at,
                "row_id": row_ids[at].as_py(),
                "score": float(scores[at]) if np.isfinite(scores[at]) else None,
                "rank": int(rank[at]),
                "selected": bool(selected[at]),
                "failure": failures[at],
                "response_chars": int(response_chars[at]),
                **{name: value for detail in details for name, value in detail(at).items()},
            }
            for at in range(num_rows)
        ),
    )
    summary = {
        "num_rows": num_rows,
        "num_selected": count,
        "num_unscored": sum(f is not None and f not in LEFT_OUT for f in failures),
        "lowest_selected_score": float(scores[order[count - 1]]),
    }
    selection = {
        **summary,
        **ties,
        "strategy": config.select.strategy,
        "subset": path.name,
        "failures": dict(Counter(f for f in failures if f)),
    }
    (out / SELECTION_FILE).write_text(json.dumps(selection, indent=2) + "\n")
    for line in tie_lines(ties, summary):
        tracker.note(line)
    tracker.log({f"select/{name}": value for name, value in summary.items()})
    tracker.histogram("select/score", scores[np.isfinite(scores)])
    tracker.artifact(f"subset-{out.name}", "dataset", path, out / SCORES_FILE)
    return summary


def _read(pool: PoolConfig) -> tuple[pa.Array, list[str | None], np.ndarray]:
    """What is kept of the pool: row ids, why rows cannot be selected, int64 [num_rows] characters of the responses."""
    row_ids, failures, response_chars = [], [], []
    rows = iter_pool(pool)
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        row_ids.append(pa.array([row.row_id for row in chunk], pa.string()))
        failures += [row.failure for row in chunk]
        response_chars.append(np.array([len(row.response) for row in chunk], dtype=np.int64))
    return pa.concat_arrays(row_ids), failures, np.concatenate(response_chars)


def _scores(
    config: SelectStage,
    row_ids: pa.Array,
    inputs: Mapping[str, Path],
    failures: list[str | None],
    details: list[Detail],
) -> np.ndarray:
    """float64 [num_rows]. Adds to `failures` and `details` what the strategy reports of a row."""
    select = config.select
    if isinstance(select, FullSelect):
        return np.ones(len(row_ids))
    if isinstance(select, RandomSelect | RandomRestSelect):
        assert config.seed is not None
        if isinstance(select, RandomRestSelect):
            for at in np.flatnonzero(_chosen_in(inputs["rest_of"], row_ids)):
                failures[at] = TAKEN
        return random_scores(iter_pool(config.pool), config.seed, select.strategy)
    if isinstance(select, LengthSelect):
        return length_scores(iter_pool(config.pool), select.field, _counter(config, select))
    if isinstance(select, RandomMatchedSelect):
        return _matched_scores(config, select, row_ids, inputs, failures)
    if isinstance(select, PerplexitySelect):
        return perplexity_scores(select, row_ids, inputs, failures, details)
    if isinstance(select, IFDSelect):
        return ifd_scores(select, row_ids, inputs, failures, details)
    return _selectit_scores(config, row_ids, inputs, failures, details)


def _matched_scores(
    config: SelectStage,
    select: RandomMatchedSelect,
    row_ids: pa.Array,
    inputs: Mapping[str, Path],
    failures: list[str | None],
) -> np.ndarray:
    """Random numbers; rows of a bin that is full are marked as left out, so that exactly the others are taken."""
    assert config.seed is not None
    scores = random_scores(iter_pool(config.pool), config.seed, select.strategy)
    lengths = length_scores(iter_pool(config.pool), select.field, _counter(config, select))
    usable = np.array([failure is None for failure in failures])
    chosen = matched(scores, lengths, usable, _chosen_in(inputs["match"], row_ids), select.num_bins)
    for at in np.flatnonzero(usable & ~chosen):
        failures[at] = BIN_FULL
    return scores


def _chosen_in(folder: Path, row_ids: pa.Array) -> np.ndarray:
    """bool [num_rows], the rows that a finished select stage has taken."""
    taken = pa.array((line["row_id"] for line in iter_jsonl(folder / MESSAGES_FILE)), pa.string())
    chosen: np.ndarray = compute.is_in(row_ids, value_set=taken).to_numpy(zero_copy_only=False)
    return chosen


def _counter(config: SelectStage, select: Length) -> Callable[[str], int]:
    if select.unit == "chars":
        return len
    if select.unit == "words":
        return lambda text: len(text.split())
    from selectit.inference.load import load_tokenizer

    assert config.tokenizer is not None
    tokenizer = load_tokenizer(config.tokenizer)
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else 0


def _check_fidelity(config: SelectStage) -> None:
    assert isinstance(config.select, SelectITSelect)
    one = np.ones((1, 5))
    token_scores(one, config.select.fidelity, _k(config))
    if config.select.level == "model":
        model_scores(np.ones((1, len(config.theta))), [t or 1.0 for t in config.theta], config.select.fidelity)


def _k(config: SelectStage) -> int:
    """The released code's K: at token level its default of 5, else the number of rating prompts."""
    assert isinstance(config.select, SelectITSelect)
    return 5 if config.select.level == "token" else len(config.prompts)


def _selectit_scores(
    config: SelectStage,
    row_ids: pa.Array,
    inputs: Mapping[str, Path],
    failures: list[str | None],
    details: list[Detail],
) -> np.ndarray:
    select = config.select
    assert isinstance(select, SelectITSelect)
    folders = [inputs[name] for name in sorted(inputs, key=lambda name: int(name.removeprefix("score")))]
    sentence = np.full((len(row_ids), len(folders)), np.nan)
    theta = []
    models: list[tuple[np.ndarray, list[str | None]]] = []
    for number, folder in enumerate(folders):
        scored = json.loads((folder / SCORE_RECORD).read_text(encoding="utf-8"))
        theta.append(config.theta[number] or scored["num_parameters"] / 1e9)
        prompts = [scored["prompts"].index(prompt) for prompt in config.prompts]
        counts = num_answers(config.pool, scored["turns"])
        ids = pa.array(itertools.chain(*map(ids_of_answers, row_ids.to_pylist(), counts.tolist())), pa.string())
        token, failed = mean_of_answers(*_token_scores(config, folder / LEDGER, ids, prompts), counts)
        sentence[:, number] = token[:, 0] if select.level == "token" else sentence_scores(token, select.alpha)
        models.append((token, failed))
        for at, failure in enumerate(failed):
            failures[at] = failures[at] or failure

    def row_details(at: int) -> dict[str, Any]:
        return {
            "models": [
                {
                    "model": number,
                    "score": None if failed[at] else float(sentence[at, number]),
                    "token_scores": [None if np.isnan(score) else float(score) for score in token[at]],
                }
                for number, (token, failed) in enumerate(models)
            ]
        }

    details.append(row_details)
    if not np.isfinite(sentence).all(axis=1).any():
        why = failures_text(Counter(failure for failure in failures if failure))
        cure = "; raise score.max_length" if {NO_RESPONSE_TOKEN, TOO_LONG} & {*failures} else ""
        raise UserError(f"pool {config.pool.path}: no row could be scored: {why}{cure}; see {folders[0] / LEDGER}")
    if select.level != "model":
        return sentence[:, 0]
    return model_scores(sentence, theta, select.fidelity)


def mean_of_answers(
    token: np.ndarray, failed: Sequence[str | None], counts: np.ndarray
) -> tuple[np.ndarray, list[str | None]]:
    """The same for rows of several answers: a row that lacks the score of one of them has none.

    Args:
        token: float64 [num_answers, num_prompts]; failed: why answers have none.
        counts: int64 [num_rows], answers of each row, one behind the other.
    """
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(token, starts, axis=0) / counts[:, None]
    why = [
        next((f for f in failed[start : start + count] if f), None)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
    return means, why


def _token_scores(
    config: SelectStage, ledger: Path, row_ids: pa.Array, prompts: Sequence[int]
) -> tuple[np.ndarray, list[str | None]]:
    """float64 [len(row_ids), num_prompts], and why rows have none; one prompt's records are in memory at a time."""
    assert isinstance(config.select, SelectITSelect)
    token = np.empty((len(row_ids), len(prompts)))
    failures: list[str | None] = [None] * len(row_ids)
    for column, prompt in enumerate(prompts):
        ratings = read_ratings(ledger, row_ids, [prompt])
        token[:, column] = token_scores(ratings.probabilities[:, 0], config.select.fidelity, _k(config))
        for at, failure in enumerate(ratings.failures):
            if failure and (failure != NOT_SCORED or not failures[at]):
                failures[at] = failure
    return token, failures
