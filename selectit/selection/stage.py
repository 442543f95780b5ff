"""The select stage: from a pool (and what a strategy reads) to a subset.

Reads the pool and the artifacts that the strategy asks for; writes the subset in the pool's own format,
messages.jsonl for training, scores.jsonl with one line per row of the pool, and selection.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selectit.config import SelectStage
from selectit.data.duplicates import KINDS as DUPLICATES
from selectit.data.pool import write_subset
from selectit.selection import steps
from selectit.selection.checks import chosen, plain, reasons, scores_of
from selectit.selection.columns import read_columns
from selectit.selection.message_lines import write_messages
from selectit.selection.ranking import ranking
from selectit.selection.score_lines import write_scores
from selectit.selection.strategy import strategy_of
from selectit.selection.ties import tie_lines, ties_of
from selectit.store.names import MESSAGES_FILE, SCORES_FILE, SELECTION_FILE
from selectit.tracking import Tracker


def preflight(config: SelectStage) -> None:
    """Raises: UserError for a pool that cannot be read, a ratio that selects nothing, or what the strategy finds."""
    strategy = strategy_of(config)
    columns = read_columns(config.pool)
    strategy.check_size(len(columns.row_ids), columns.failures.count(None))
    pool = columns.candidates(config)
    strategy.preflight(pool)
    steps.check(strategy, pool)


def run(config: SelectStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, Any]:
    """Returns: rows of the pool, rows selected, rows that could not be scored, and the lowest selected score."""
    strategy = strategy_of(config)
    columns = read_columns(config.pool)
    pool, num_rows = columns.candidates(config, inputs), len(columns.row_ids)
    scored = strategy.scores(pool)
    failures, left_out = reasons(strategy, columns.failures, scored)
    left_out |= {*DUPLICATES.values()} & {*columns.failures}
    for at, why in steps.without_what_is_read(strategy, pool).items():
        failures[at] = failures[at] or why
    scores = scores_of(strategy, scored, failures)
    eligible = int(np.isfinite(scores).sum())
    arranged, count = chosen(strategy, scored, ranking(scores), eligible)
    taken = steps.taken(strategy, pool, arranged, scores, eligible, count)
    for at, rule in taken.left_out.items():
        failures[at] = rule
        left_out.add(rule)
    rank = np.empty(num_rows, dtype=np.int64)
    rank[taken.positions] = np.arange(1, num_rows + 1)
    selected = rank <= taken.count
    ties = ties_of(scores, selected) if strategy.score_name() is not None and not taken.record else {}
    path = write_subset(config.pool, selected, out)
    write_messages(out / MESSAGES_FILE, config.pool, selected, scores if config.keeps_scores else None)
    write_scores(out / SCORES_FILE, strategy, columns, scores, rank, selected, failures, scored.details)
    summary = {
        "num_rows": num_rows,
        "num_selected": taken.count,
        "num_unscored": sum(failure is not None and failure not in left_out for failure in failures),
        "lowest_selected_score": float(scores[selected].min()),
    }
    selection = {
        **summary,
        **ties,
        "strategy": strategy.strategy,
        "subset": path.name,
        "failures": dict(Counter(failure for failure in failures if failure)),
        "left_out": sorted(left_out),
    }
    selection |= taken.record
    selection |= plain(strategy, selection, scored.record, SELECTION_FILE)
    (out / SELECTION_FILE).write_text(json.dumps(selection, indent=2) + "\n")
    for line in (*tie_lines(ties, summary), *steps.notes(selection), *strategy.notes(selection)):
        tracker.note(line)
    tracker.log({f"select/{name}": value for name, value in summary.items()})
    tracker.histogram("select/score", scores[np.isfinite(scores)])
    tracker.artifact(f"subset-{out.name}", "dataset", path, out / SCORES_FILE)
    return summary
