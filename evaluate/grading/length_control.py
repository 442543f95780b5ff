"""AlpacaEval 2's length-controlled win rate: what the judge would prefer if each answer were as long as its reference.

Reads AlpacaEval's df_gamed.csv: how difficult each instruction is, and judged answers of two baselines that play on
length, which hold the fit. Source: Dubois et al. 2024, and alpaca_eval 0.6.6, metrics/glm_winrate.py, whose number this
is; but difficulty is joined by the instruction's place among the 805, where alpaca_eval takes the row's.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from selectit.errors import UserError
from selectit.evaluate.benchmarks.hub import file_at
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading.kinds import Judged
from selectit.evaluate.results import Item, Metric
from selectit.evaluate.stage_config import EvaluateStage, GradeStage

METRIC = "length_controlled_winrate"
NUM_ITEMS = 805
INSTRUCTIONS_SHA256 = "18511e7a68c0c5d7ca1ae779f0bb11ec4fce7fb81828dce171c2658e332a69b1"
"""Of AlpacaEval's 805 instructions in their order, a line each, blanks made one."""
COLUMNS = ("index", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
GAMED_WEIGHT = 0.2 / 2
"""Of a row of the two baselines, where a row of the model weighs 1."""
NUM_FOLDS = 5
STRENGTHS = np.logspace(-4, 4, 10)
"""Inverse strengths of the l1 penalty that are tried."""
SEED = 123
NO_FILE = "df_gamed.csv is not there (`selectit data fetch --benchmarks alpaca_eval_2` puts it next to the references)"


@dataclass(frozen=True)
class GamedAnswers:
    """df_gamed.csv; of its judged answers those that have a preference."""

    features: np.ndarray  # float64 [num_rows, 3], as `_features` has them
    preferences: np.ndarray  # float64 [num_rows], for the second answer, 0 to 1
    weights: np.ndarray  # float64 [num_rows]
    difficulty: np.ndarray  # float64 [NUM_ITEMS]
    sha256: str


def is_length_controlled(name: str) -> bool:
    grading = benchmarks()[name].grading if name in benchmarks() else None
    return isinstance(grading, Judged) and grading.length_control is not None


def find_gamed(config: EvaluateStage | GradeStage) -> GamedAnswers | None:
    """df_gamed.csv from where the references come from; None where it is not there or nobody judges.

    Raises: UserError for a file of another form, or a hub that does not answer.
    """
    if config.judge is None or not is_length_controlled(config.benchmark.name):
        return None
    benchmark = benchmarks()[config.benchmark.name]
    assert isinstance(benchmark.grading, Judged) and benchmark.grading.length_control is not None
    name = benchmark.grading.length_control
    if config.data == "hub":
        path = file_at(str(benchmark.hub), name, config.benchmark.revision)
    else:
        path = Path(config.data) / benchmark.folder / name
    return read_gamed(path) if path is not None and path.is_file() else None


def read_gamed(path: Path) -> GamedAnswers:
    """Raises: UserError for a file without the columns, with an unreadable value or without all instructions."""
    with path.open(encoding="utf-8-sig", newline="") as f:
        reader = csv.DictReader(f)
        found = reader.fieldnames or []
        if missing := [name for name in COLUMNS if name not in found]:
            raise UserError(
                f"{path} has no column {', '.join(missing)}: it has {', '.join(found) or 'none'} and needs "
                f"{', '.join(COLUMNS)}; take df_gamed.csv of the hub's data set tatsu-lab/alpaca_eval"
            )
        rows = [_numbers(path, number, row) for number, row in enumerate(reader, 1)]
    difficulty: dict[int, float] = {}
    for row in rows:
        difficulty.setdefault(int(row["index"]), row["instruction_difficulty"])
    if set(difficulty) != set(range(NUM_ITEMS)):
        raise UserError(
            f"{path}: its column index names {len(difficulty)} instructions, expected the {NUM_ITEMS} from 0 to "
            f"{NUM_ITEMS - 1}; take df_gamed.csv of the hub's data set tatsu-lab/alpaca_eval"
        )
    judged = [row for row in rows if not math.isnan(row["preference"])]
    is_model = np.array([row["not_gamed_baseline"] for row in judged])
    return GamedAnswers(
        features=_features(
            np.array([row["std_delta_len"] for row in judged]),
            np.array([row["instruction_difficulty"] for row in judged]),
            is_model,
        ),
        preferences=np.array([row["preference"] for row in judged]),
        weights=np.where(is_model == 1, 1.0, GAMED_WEIGHT),
        difficulty=np.array([difficulty[index] for index in range(NUM_ITEMS)]),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def length_controlled(items: Sequence[Item], gamed: GamedAnswers | None) -> tuple[dict[str, Metric], str]:
    """The metric, or {} and why there is none.

    Args: items: with the judge's preference for the model as score; gamed: None where there is no file.
    """
    if gamed is None:
        return {}, NO_FILE
    num_judged = sum(item.score is not None for item in items)
    if num_judged != NUM_ITEMS or len(items) != NUM_ITEMS:
        return {}, f"it takes all {NUM_ITEMS} items, and {num_judged} were judged"
    in_order = sorted(items, key=lambda item: item.item_id)
    if instructions_sha256([item.doc["instruction"] for item in in_order]) != INSTRUCTIONS_SHA256:
        return {}, "the references are not AlpacaEval's 805 instructions in their order, which difficulty is joined by"
    lengths = [len(item.doc["output"]) - len(item.outputs[0]) for item in in_order]
    if len(set(lengths)) == 1:
        return {}, "all answers differ from their references by the same length, from which nothing can be learned"
    preferences = np.array([item.score for item in in_order], dtype=np.float64)
    return {METRIC: Metric(winrate_at_equal_length(np.array(lengths), preferences, gamed), None, NUM_ITEMS)}, ""


def winrate_at_equal_length(lengths: np.ndarray, preferences: np.ndarray, gamed: GamedAnswers) -> float:
    """Mean preference that the fit predicts for answers as long as their references.

    Args:
        lengths: [NUM_ITEMS] characters of the reference minus those of the model's answer, in AlpacaEval's order.
        preferences: float64 [NUM_ITEMS], for the model, 0 to 1.
    Returns: a fraction.
    """
    is_model = np.ones(NUM_ITEMS)
    own = _features(lengths / lengths.std(ddof=1), gamed.difficulty, is_model)
    model = _fit(
        np.concatenate([gamed.features, own]),
        np.concatenate([gamed.preferences, preferences]),
        np.concatenate([gamed.weights, np.ones(NUM_ITEMS)]),
    )
    equal = _features(np.zeros(NUM_ITEMS), gamed.difficulty, is_model)
    return float(model.predict_proba(equal)[:, 1].mean())


def instructions_sha256(instructions: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(" ".join(text.split()) for text in instructions).encode()).hexdigest()


def _features(std_delta_len: np.ndarray, difficulty: np.ndarray, is_model: np.ndarray) -> np.ndarray:
    # float64 [num_rows, 3]; liblinear's descent takes the columns in this order
    return np.stack([np.tanh(std_delta_len), difficulty, is_model], axis=1)


def _fit(features: np.ndarray, preferences: np.ndarray, weights: np.ndarray) -> LogisticRegression:
    """Logistic regression on preferences: each row counts as a win by its preference and as a loss by the rest.

    The strength of the penalty is the one with the lowest log loss over the folds.
    """
    num_rows = len(preferences)
    rows = np.tile(np.arange(num_rows), 2)
    wins = np.repeat([1, 0], num_rows)
    shares = np.concatenate([preferences, 1 - preferences]) * weights[rows]
    losses = np.zeros(len(STRENGTHS))
    for train, test in GroupKFold(NUM_FOLDS).split(rows, groups=rows):
        draws = np.random.RandomState(SEED)  # one for all strengths of a fold, as LogisticRegressionCV draws
        for number, strength in enumerate(STRENGTHS):
            model = _regression(strength, draws).fit(features[rows[train]], wins[train], sample_weight=shares[train])
            predicted = model.predict_proba(features[rows[test]])[:, 1]
            losses[number] += _log_loss(preferences[rows[test]], predicted, weights[rows[test]])
    return _regression(STRENGTHS[losses.argmin()], SEED).fit(features[rows], wins, sample_weight=shares)


def _regression(strength: float, draws: np.random.RandomState | int) -> LogisticRegression:
    return LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", fit_intercept=False, random_state=draws)


def _log_loss(preferences: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    predicted = predicted.clip(1e-15, 1 - 1e-15)
    return -float(np.mean(weights * (preferences * np.log(predicted) + (1 - preferences) * np.log(1 - predicted))))


def _numbers(path: Path, number: int, row: dict[str, str]) -> dict[str, float]:
    """The row's columns as numbers; a preference that is not there is NaN."""
    numbers = {}
    for name in COLUMNS:
        text = (row[name] or "").strip()
        if name == "not_gamed_baseline":
            value = {"true": 1.0, "false": 0.0}.get(text.casefold(), math.nan)
        else:
            value = _number(text)
        is_valid = math.isfinite(value) and (name != "preference" or 0 <= value <= 1)
        if not is_valid and not (name == "preference" and text.casefold() in ("", "nan")):
            wanted = {"not_gamed_baseline": "True or False", "preference": "0 to 1, or nothing"}
            raise UserError(f"{path}, row {number}: {name} is {text!r}, expected {wanted.get(name, 'a number')}")
        numbers[name] = value
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
