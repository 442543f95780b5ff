"""`selectit.select` and `selectit.score`: the rows of a pool that a strategy takes, and what a model makes of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.api.rows import GivenRows
from selectit.api.running import FilePath, plain, run_stages, work_folders
from selectit.config import SelectStage
from selectit.data.jsonl import iter_jsonl, read_jsonl
from selectit.errors import UserError, did_you_mean
from selectit.plan.lone_stages import lone_selection
from selectit.selection.columns import read_columns
from selectit.selection.registry import known
from selectit.selection.strategy import json_number, strategy_of
from selectit.store.names import MESSAGES_FILE, SCORES_FILE, SELECTION_FILE

Model = FilePath | Mapping[str, Any]
"""A folder or hub id, or the fields of a recipe's `model` section, such as `{"path": ..., "dtype": "bfloat16"}`."""


@dataclass(frozen=True)
class SelectedRows:
    """The rows that were selected, in the pool's order."""

    rows: list[dict[str, Any]]
    ids: list[str]
    """A row's own `id` where rows have one, else its position and a hash of its content."""
    scores: list[float | None]
    """Higher is better; None where the strategy gives none, as for random rows."""
    all_scores: list[dict[str, Any]]
    """Of every row of the pool, in its order, as in scores.jsonl: `row_id`, `score`, `rank`, `selected`, `failure` (why
    it has no score) and what the strategy adds."""
    record: dict[str, Any]
    """Of the whole: `strategy`, `num_rows`, `num_selected`, `failures` by kind and others, as in selection.json."""


@dataclass(frozen=True)
class RowScores:
    """SelectIT's scores of every row of a pool, in its order."""

    ids: list[str]
    scores: list[float | None]
    """The sentence-level score; None where a row has none."""
    token_scores: list[list[float | None]]
    """[num_rows][num_rating_prompts]."""
    failures: list[str | None]
    """Why a row has no score, as one word."""


def select(
    rows: Any,
    strategy: str | Mapping[str, Any] = "selectit",
    *,
    model: Model | Sequence[Model] | None = None,
    ratio: float | None = None,
    seed: int = 42,
    pool: Mapping[str, Any] | None = None,
    score: Mapping[str, Any] | None = None,
    plugins: Sequence[FilePath] = (),
    runs_dir: FilePath | None = None,
    reuse: Sequence[FilePath] = (),
    progress: bool = False,
    **fields: Any,
) -> SelectedRows:
    """Choose the best part of a pool.

    Args:
        rows: a path or hub id, a list of dicts, or a `datasets.Dataset`.
        strategy: one of those that `selectit strategies` lists, or a whole `select` section.
        model: the rater, or several for level model; or what has the tokenizer.
        ratio: share of the rows that is kept; default: the strategy's.
        seed: of strategies that draw.
        pool, score: fields of a recipe's sections, such as `pool={"bad_rows": "exclude"}`.
        plugins: files with strategies of your own.
        runs_dir: keeps what is computed, so that the same call, or another ratio, computes nothing again; default:
            nothing is kept.
        reuse: earlier runs folders whose ratings are used.
        progress: print what the command line prints.
        fields: of the strategy, such as `alpha=0.5`.
    Raises: UserError, a ValueError, for rows, settings or models that cannot be used, before anything is rated; what
        a library raises stays as it is.
    """
    strategies = known([str(plugin) for plugin in plugins])
    section = _section(strategy, ratio, fields, strategies)
    with work_folders(runs_dir) as (runs, folder):
        given = GivenRows(rows, pool, folder)
        chosen = lone_selection(given.section, _models(model), _score(score), section, strategies, ratio)
        if model is None and chosen.needs_model:
            raise UserError(f"strategy {section['strategy']} needs a model: model=<folder or hub id>")
        stage = chosen.stage(seed)
        artifact = run_stages([stage], runs, reuse, given.inputs, progress)[stage].artifact
        assert artifact is not None
        record = json.loads((artifact.path / SELECTION_FILE).read_text(encoding="utf-8"))
        table = read_jsonl(artifact.path / SCORES_FILE)
        scores = {line["row_id"]: line["score"] for line in table if line["selected"]}
        ids = [line["row_id"] for line in iter_jsonl(artifact.path / MESSAGES_FILE)]
        found = given.of(artifact.path / record["subset"])
        return SelectedRows(found, ids, [scores[row_id] for row_id in ids], table, record)


def score(
    rows: Any,
    model: Model,
    *,
    alpha: float = 0.2,
    num_rating_prompts: int = 5,
    fidelity: str = "corrected",
    pool: Mapping[str, Any] | None = None,
    score: Mapping[str, Any] | None = None,
    runs_dir: FilePath | None = None,
    reuse: Sequence[FilePath] = (),
    progress: bool = False,
) -> RowScores:
    """Rate every row of a pool with one model.

    Args:   alpha, num_rating_prompts, fidelity: of the formula; the others as `select` takes them.
    Raises: as `select`, and UserError where no row could be rated.
    """
    of_formula = {"alpha": alpha, "num_rating_prompts": num_rating_prompts, "fidelity": fidelity}
    section = {"strategy": "selectit", "level": "sentence", **of_formula}
    with work_folders(runs_dir) as (runs, folder):
        given = GivenRows(rows, pool, folder)
        stage = lone_selection(given.section, _models(model), _score(score), section, known()).stage(0)
        outcomes = run_stages([other for _, other in stage.inputs], runs, reuse, given.inputs, progress)
        folders: dict[str, Path] = {}
        for name, other in stage.inputs:
            artifact = outcomes[other].artifact
            assert artifact is not None
            folders[name] = artifact.path
        assert isinstance(stage.config, SelectStage)
        columns = read_columns(stage.config.pool)
        scored = strategy_of(stage.config).scores(columns.candidates(stage.config, folders))
    assert scored.details is not None
    positions = range(len(columns.row_ids))
    return RowScores(
        columns.row_ids.to_pylist(),
        [json_number(value) for value in scored.scores],
        [scored.details(at)["models"][0]["token_scores"] for at in positions],
        [columns.failures[at] or scored.failures.get(at) for at in positions],
    )


def _section(
    strategy: str | Mapping[str, Any], ratio: float | None, fields: Mapping[str, Any], strategies: Mapping[str, Any]
) -> dict[str, Any]:
    whole = {"strategy": strategy} if isinstance(strategy, str) else dict(strategy)
    if twice := sorted(whole.keys() & fields.keys()):
        raise UserError(f"strategy: {twice[0]} is given twice; give it once")
    name = whole.get("strategy")
    if name not in strategies:
        near = did_you_mean(str(name), strategies)
        raise UserError(f"strategy {name!r} is unknown; allowed are {', '.join(strategies)}.{near}")
    if ratio is not None and "ratio" in {**whole, **fields}:
        raise UserError("strategy: ratio is given twice; give it once")
    section: dict[str, Any] = plain({**whole, **({} if ratio is None else {"ratio": ratio}), **fields})
    return section


def _models(model: Model | Sequence[Model] | None) -> list[dict[str, Any]]:
    several = list(model) if isinstance(model, list | tuple) else [] if model is None else [model]
    return [plain(one) if isinstance(one, Mapping) else {"path": plain(one)} for one in several]


def _score(score: Mapping[str, Any] | None) -> dict[str, Any]:
    """One process, unless more are asked for: each process of a GPU runs an unguarded program from its start."""
    return {"num_processes": 1, **plain(score or {})}
