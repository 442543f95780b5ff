"""The select stage: from a pool (and ledgers) to a subset.

Reads the pool and the ledgers of its raters or losses; writes the subset in the pool's own format,
messages.jsonl for training, scores.jsonl with one line per row of the pool, and selection.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import (
    FullSelect,
    IFDSelect,
    Length,
    LengthSelect,
    PerplexitySelect,
    RandomMatchedSelect,
    RandomRestSelect,
    RandomSelect,
    SelectITSelect,
    SelectStage,
)
from selectit.data import Row, read_jsonl, read_pool, write_jsonl, write_rows
from selectit.errors import UserError
from selectit.scoring.formula import model_scores, sentence_scores, token_scores
from selectit.scoring.ledger import LEDGER, read_ratings
from selectit.selection.losses import ifd_scores, middle_first, perplexity_scores
from selectit.selection.strategies import length_scores, matched, num_selected, random_scores, ranking
from selectit.tracking import Tracker

TAKEN = "taken_by_the_other_arm"
BIN_FULL = "length_bin_full"
LEFT_OUT = (TAKEN, BIN_FULL)
"""Not failures: rows that a strategy leaves out by its own rule."""


def preflight(config: SelectStage) -> None:
    """Raises: UserError for a pool that cannot be read or a ratio that selects nothing."""
    rows = read_pool(config.pool)
    usable = sum(row.failure is None for row in rows)
    if not isinstance(config.select, FullSelect | RandomMatchedSelect):
        count = num_selected(config.select.ratio, len(rows), usable)
        if isinstance(config.select, PerplexitySelect) and config.select.order == "mid":
            middle_first(range(len(rows)), usable, count)
    if isinstance(config.select, SelectITSelect):
        _check_fidelity(config)


def run(config: SelectStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Returns: rows of the pool, rows selected, rows that could not be scored, and the lowest selected score."""
    rows = read_pool(config.pool)
    failures: list[str | None] = [row.failure for row in rows]
    details: list[dict[str, Any]] = [{} for _ in rows]
    scores = _scores(config, rows, inputs, failures, details)
    scores[[failure is not None for failure in failures]] = np.nan
    eligible = int(np.isfinite(scores).sum())
    if isinstance(config.select, FullSelect | RandomMatchedSelect):
        count = eligible
    else:
        count = num_selected(config.select.ratio, len(rows), eligible)
    order = ranking(scores)
    if isinstance(config.select, PerplexitySelect) and config.select.order == "mid":
        order = middle_first(order, eligible, count)
    selected = set(order[:count])
    rank = {index: position + 1 for position, index in enumerate(order)}

    subset = [row for row in rows if row.index in selected]
    path = write_rows(config.pool, subset, out)
    write_jsonl(out / "messages.jsonl", ({"row_id": r.row_id, "messages": list(r.messages)} for r in subset))
    write_jsonl(
        out / "scores.jsonl",
        (
            {
                "row": row.index,
                "row_id": row.row_id,
                "score": float(scores[row.index]) if np.isfinite(scores[row.index]) else None,
                "rank": rank[row.index],
                "selected": row.index in selected,
                "failure": failures[row.index],
                "response_chars": len(row.response),
                **details[row.index],
            }
            for row in rows
        ),
    )
    summary = {
        "num_rows": len(rows),
        "num_selected": len(subset),
        "num_unscored": sum(f is not None and f not in LEFT_OUT for f in failures),
        "lowest_selected_score": float(scores[order[count - 1]]),
    }
    selection = {
        **summary,
        "strategy": config.select.strategy,
        "subset": path.name,
        "failures": dict(Counter(f for f in failures if f)),
    }
    (out / "selection.json").write_text(json.dumps(selection, indent=2) + "\n")
    tracker.log({f"select/{name}": value for name, value in summary.items()})
    tracker.histogram("select/score", [float(s) for s in scores if np.isfinite(s)])
    tracker.artifact(f"subset-{out.name}", "dataset", path, out / "scores.jsonl")
    return summary


def _scores(
    config: SelectStage,
    rows: Sequence[Row],
    inputs: Mapping[str, Path],
    failures: list[str | None],
    details: list[dict[str, Any]],
) -> np.ndarray:
    """float64 [num_rows]. Adds to `failures` and `details` what the strategy has to say of a row."""
    select = config.select
    if isinstance(select, FullSelect):
        return np.ones(len(rows))
    if isinstance(select, RandomSelect | RandomRestSelect):
        assert config.seed is not None
        if isinstance(select, RandomRestSelect):
            taken = {line["row_id"] for line in read_jsonl(inputs["rest_of"] / "messages.jsonl")}
            for row in rows:
                if row.row_id in taken:
                    failures[row.index] = TAKEN
        return random_scores(rows, config.seed, select.strategy)
    if isinstance(select, LengthSelect):
        return length_scores(rows, select.field, _counter(config, select))
    if isinstance(select, RandomMatchedSelect):
        return _matched_scores(config, select, rows, inputs, failures)
    if isinstance(select, PerplexitySelect):
        return perplexity_scores(select, rows, inputs, failures, details)
    if isinstance(select, IFDSelect):
        return ifd_scores(select, rows, inputs, failures, details)
    return _selectit_scores(config, rows, inputs, failures, details)


def _matched_scores(
    config: SelectStage,
    select: RandomMatchedSelect,
    rows: Sequence[Row],
    inputs: Mapping[str, Path],
    failures: list[str | None],
) -> np.ndarray:
    """Random numbers; rows of a bin that is full are marked as left out, so that exactly the others are taken."""
    assert config.seed is not None
    scores = random_scores(rows, config.seed, select.strategy)
    lengths = length_scores(rows, select.field, _counter(config, select))
    model_ids = {line["row_id"] for line in read_jsonl(inputs["match"] / "messages.jsonl")}
    model = np.array([row.row_id in model_ids for row in rows])
    usable = np.array([failure is None for failure in failures])
    chosen = matched(scores, lengths, usable, model, select.num_bins)
    for row in rows:
        if usable[row.index] and not chosen[row.index]:
            failures[row.index] = BIN_FULL
    return scores


def _counter(config: SelectStage, select: Length) -> Callable[[str], int]:
    if select.unit == "chars":
        return len
    if select.unit == "words":
        return lambda text: len(text.split())
    from selectit.models import load_tokenizer

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
    rows: Sequence[Row],
    inputs: Mapping[str, Path],
    failures: list[str | None],
    details: list[dict[str, Any]],
) -> np.ndarray:
    select = config.select
    assert isinstance(select, SelectITSelect)
    row_ids = [row.row_id for row in rows]
    folders = [inputs[name] for name in sorted(inputs, key=lambda name: int(name.removeprefix("score")))]
    sentence = np.full((len(rows), len(folders)), np.nan)
    theta = []
    for number, folder in enumerate(folders):
        scored = json.loads((folder / "score.json").read_text(encoding="utf-8"))
        theta.append(config.theta[number] or scored["num_parameters"] / 1e9)
        prompts = [scored["prompts"].index(prompt) for prompt in config.prompts]
        ratings = read_ratings(folder / LEDGER, row_ids, prompts)
        token = token_scores(ratings.probabilities, select.fidelity, _k(config))  # [num_rows, num_prompts]
        sentence[:, number] = token[:, 0] if select.level == "token" else sentence_scores(token, select.alpha)
        for index, failure in enumerate(ratings.failures):
            failures[index] = failures[index] or failure
            model = {
                "model": number,
                "score": None if failure else float(sentence[index, number]),
                "token_scores": [None if np.isnan(s) else float(s) for s in token[index]],
            }
            details[index].setdefault("models", []).append(model)
    if not np.isfinite(sentence).all(axis=1).any():
        raise UserError(f"pool {config.pool.path}: no row could be scored; see ledger.parquet in {folders[0]}")
    if select.level != "model":
        return sentence[:, 0]
    return model_scores(sentence, theta, select.fidelity)
