"""Plots of the subsets: the scores behind them, the lengths of their responses, what they have in common.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selectit.report.render import formats
from selectit.report.sections import plots
from selectit.report.sections.figures import MOST_PANELS, Plot, left_out, shown_of
from selectit.report.tables.subsets import Overlap, Subset
from selectit.selection.strategy import strategy_of

MOST_IN_HEAT_MAP = 16


def score_distributions(subsets: Sequence[Subset]) -> Plot | None:
    found = [s for s in subsets if s.config.select.score_name() is not None]
    panels = [
        plots.Distribution(
            s.row.label, s.scores[np.isfinite(s.scores)], s.scores[s.selected],
            s.summary.get("lowest_selected_score"), s.config.select.score_name() or "",
        )
        for s in shown_of(found, MOST_PANELS)
    ]  # fmt: skip
    if not panels:
        return None
    caption = (
        "Scores of all rows that could be scored; the selected part is coloured, and the cut-off is the lowest "
        "selected score."
    )
    return Plot("Score distributions", plots.score_distributions(panels), caption + left_out(len(found), MOST_PANELS))


def response_lengths(subsets: Sequence[Subset]) -> Plot | None:
    found = [s for s in subsets if not strategy_of(s.config).takes_all]
    shown = shown_of(found, MOST_PANELS)
    panels = [plots.Distribution(s.row.label, s.response_chars, s.response_chars[s.selected]) for s in shown]
    if not panels:
        return None
    medians = [f"{s.row.label} {formats.count(np.median(s.response_chars[s.selected]))}" for s in shown]
    pool = formats.spread(np.median(s.response_chars) for s in found)
    caption = (
        f"Length of the response in characters (bins grow with the length). Medians: pool {pool}; {'; '.join(medians)}."
    )
    return Plot("Response lengths", plots.length_distributions(panels), caption + left_out(len(found), MOST_PANELS))


def overlap(subsets: Sequence[Subset], pairs: Sequence[Overlap]) -> Plot | None:
    shown = shown_of(subsets, MOST_IN_HEAT_MAP)
    if len(shown) < 2:
        return None
    at = {id(subset): index for index, subset in enumerate(shown)}
    jaccard = np.full((len(shown), len(shown)), np.nan)
    np.fill_diagonal(jaccard, 1.0)
    for pair in pairs:
        if id(pair.one) in at and id(pair.other) in at:
            one, other = at[id(pair.one)], at[id(pair.other)]
            jaccard[one, other] = jaccard[other, one] = pair.jaccard
    caption = (
        "Rows in both subsets over rows in either (first selection seed of each arm; overlap.csv has all). "
        "Subsets of different size cannot reach 1."
    )
    if len({subset.pool for subset in shown}) > 1:
        caption += " Rows of different pools are the same where their roles and texts are."
    return Plot(
        "Overlap between arms", plots.overlap_heat_map([s.row.label for s in shown], jaccard),
        caption + left_out(len(subsets), MOST_IN_HEAT_MAP),
    )  # fmt: skip
