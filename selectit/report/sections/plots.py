"""The plots of the report as SVG text, drawn from plain numbers.

The only module of the report that imports matplotlib; nothing of it is read before a report is written.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which stay apart for colour-blind readers; yellow is left out on white."""
LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = "os^DvPX"
"""Line styles and markers tell curves apart where colours do not: 7 colours and 4 styles repeat after 28 curves."""
PAGE_COLOURS = {"#0072b2": "var(--plot-blue)"}
"""Colours that page.css sets, since they are too dark on its dark page."""
POOL_COLOUR, INK = "#8a94a073", "#333333"
CELL_INK = "#20262c"
"""On the light cells of the heat map, in dark mode too; INK and black follow the colour of the page's text."""
WIDTH = 10.8  # inches
LAYOUT_FONT = "DejaVu Sans"
"""Comes with matplotlib, so a machine's own fonts move nothing in a plot; the narrower ones are for the reader."""
PAGE_FONTS = f"Helvetica, Arial, '{LAYOUT_FONT}'"
NUM_BINS = 40
LEVEL_BAND, CURVE_BAND = 0.08, 0.16
"""Opacity of the bands of errors."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" in a row id or label is a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": [LAYOUT_FONT],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Distribution:
    """Numbers of a whole pool and of the rows that an arm selected."""

    label: str
    pool: np.ndarray
    selected: np.ndarray
    cut_off: float | None = None
    unit: str = ""
    """What the numbers are: the name of the axis where panels differ in it."""


@dataclass(frozen=True)
class Curve:
    """Curves of one `group` share a colour; the second and later ones are paler."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    group: int = 0
    is_repeat: bool = False


@dataclass(frozen=True)
class RatioPanel:
    """`levels` are rows without a ratio, drawn as horizontal lines with the band of their error."""

    title: str
    curves: Sequence[Curve]
    levels: Sequence[tuple[str, float, float, int]]
    """(label, value, error, group)"""


@dataclass(frozen=True)
class Difference:
    """A difference to a baseline with its interval, in points."""

    at: int
    """Position of its row among `labels` of the plot."""
    value: float
    low: float
    high: float
    of_method: bool
    """False: of these trained models over items alone; drawn hollow."""
    is_primary: bool = False


@dataclass(frozen=True)
class ForestPanel:
    title: str
    differences: Sequence[Difference]


@matplotlib.rc_context(STYLE)
def score_distributions(panels: Sequence[Distribution]) -> str:
    figure, axes = _panels(len(panels), columns=2, height=2.0)
    for axis, panel in zip(axes, panels, strict=True):
        bins = np.histogram_bin_edges(panel.pool, NUM_BINS).tolist()
        axis.hist(panel.pool, bins, color=POOL_COLOUR, label="all scored rows")
        axis.hist(panel.selected, bins, color=PALETTE[0], label="selected")
        cut_off = ""
        if panel.cut_off is not None:
            axis.axvline(panel.cut_off, color=INK, linewidth=1, linestyle="--", label="cut-off")
            cut_off = f", cut-off {panel.cut_off:.3f}"
        axis.set(title=_folded(f"{panel.label}{cut_off}", 70), xlabel=panel.unit, ylabel="rows")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return _svg(figure, "scores")


@matplotlib.rc_context(STYLE)
def length_distributions(
    panels: Sequence[Distribution],
    unit: str = "response length (characters)",
    names: tuple[str, str] = ("pool", "selected"),
    name: str = "lengths",
) -> str:
    """Shares of rows per bin of length; bins grow with the length, whole units each.

    Args: names: of what is filled and of the line; name: of the plot, which no other plot may have.
    """
    figure, axes = _panels(len(panels), columns=3, height=1.9)
    longest = max(float(panel.pool.max(initial=1)) for panel in panels)
    lengths = [values for panel in panels for values in (panel.pool, panel.selected)]
    shortest = max(1.0, min(float(values.min(initial=longest)) for values in lengths))
    bins = np.unique(np.round(np.geomspace(shortest, longest + 1, NUM_BINS))).tolist()
    for axis, panel in zip(axes, panels, strict=True):
        pool, selected = np.maximum(panel.pool, shortest), np.maximum(panel.selected, shortest)
        axis.hist(pool, bins, weights=_shares(pool), color=POOL_COLOUR, label=names[0])
        line: dict[str, Any] = {"histtype": "step", "color": PALETTE[0], "linewidth": 1.4}
        axis.hist(selected, bins, weights=_shares(selected), label=names[1], **line)
        axis.set(title=_folded(panel.label, 42), xlabel=unit, ylabel="rows (%)", xscale="log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.xaxis.set_minor_formatter(lambda value, _: "")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return _svg(figure, name)


@matplotlib.rc_context(STYLE)
def overlap_heat_map(labels: Sequence[str], jaccard: np.ndarray) -> str:
    """Args: jaccard: float64 [num_rows, num_rows]; NaN where two subsets are not of one pool."""
    side = min(WIDTH, 1.9 + 0.6 * len(labels))
    figure = _figure(side, side)
    axis = figure.add_subplot()
    axis.pcolormesh(jaccard, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for (at, other), value in np.ndenumerate(jaccard):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axis.text(other + 0.5, at + 0.5, text, ha="center", va="center", color="white" if value > 0.55 else CELL_INK)
    ticks = np.arange(len(labels)) + 0.5
    names = [_folded(label, 30) for label in labels]
    axis.set_xticks(ticks, names, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, names)
    axis.set_aspect("equal")
    axis.invert_yaxis()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return _svg(figure, "overlap")


@matplotlib.rc_context(STYLE)
def loss_curves(
    curves: Sequence[Curve],
    x: str = "optimiser step",
    y: str = "training loss (nats per trained token)",
    name: str = "loss",
) -> str:
    """Args: name: of the plot, which no other plot may have."""
    figure = _figure(WIDTH, 3.1)
    axis = figure.add_subplot()
    for curve in curves:  # of one moment there is no line to see
        _draw(axis, curve, marker=MARKERS[curve.group % len(MARKERS)] if len(curve.x) == 1 else "")
    axis.locator_params(axis="x", integer=True)
    axis.set(xlabel=x, ylabel=y)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    return _svg(figure, name)


@matplotlib.rc_context(STYLE)
def ratio_curves(panels: Sequence[RatioPanel], x: str = "selected rows (% of the pool)", name: str = "ratio") -> str:
    """Args: name: of the plot, which no other plot may have."""
    figure, axes = _panels(len(panels), columns=3, height=2.2)
    for axis, panel in zip(axes, panels, strict=True):
        for curve in panel.curves:
            _draw(axis, curve, marker=MARKERS[curve.group % len(MARKERS)])
        for label, level, error, group in panel.levels:
            axis.axhline(level, color=_colour(group), linewidth=1.4, linestyle=_dots(group), label=label)
            axis.axhspan(level - error, level + error, color=_colour(group), alpha=LEVEL_BAND, linewidth=0)
        ratios = sorted({x for curve in panel.curves for x in curve.x})
        axis.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axis.set(title=panel.title, xlabel=x, ylabel="%")
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower left", ncols=4, fontsize=8)
    return _svg(figure, name)


@matplotlib.rc_context(STYLE)
def forest(labels: Sequence[str], panels: Sequence[ForestPanel], margin: float) -> str:
    """Args: labels: of the rows, from top to bottom; margin: half the width of the grey band around 0, in points."""
    names = [_folded(label, 30) for label in labels]
    lines = sum(name.count("\n") + 1 for name in names)
    figure, axes = _panels(len(panels), columns=3, height=0.75 + 0.24 * lines)
    for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        axis.axvspan(-margin, margin, color=POOL_COLOUR, linewidth=0)
        axis.axvline(0, color=INK, linewidth=0.8)
        for one in panel.differences:
            colour = PALETTE[1] if one.is_primary else PALETTE[0]
            style = "-" if one.of_method else ":"
            width = 2.2 if one.is_primary else 1.2
            axis.hlines(one.at, one.low, one.high, color=colour, linestyle=style, linewidth=width)
            face = colour if one.of_method else "none"
            marker = "D" if one.is_primary else "o"
            axis.plot(one.value, one.at, marker, markersize=5, color=colour, markerfacecolor=face)
        axis.set_yticks(range(len(names)), names if number % 3 == 0 else [""] * len(names))
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.set(title=_folded(panel.title, 42), xlabel="difference (points)")
    return _svg(figure, "forest")


def _draw(axis: Axes, curve: Curve, marker: str = "") -> None:
    line: dict[str, Any] = {
        "color": _colour(curve.group),
        "linestyle": LINE_STYLES[curve.group % len(LINE_STYLES)],
        "linewidth": 1.4,
        "alpha": 0.35 if curve.is_repeat else 1.0,
        "label": None if curve.is_repeat else curve.label,
    }
    axis.plot(curve.x, curve.y, marker=marker, markersize=4, **line)
    if curve.spread is not None and any(curve.spread):
        low, high = (np.add(curve.y, side * np.asarray(curve.spread)) for side in (-1, 1))
        axis.fill_between(curve.x, low, high, color=_colour(curve.group), alpha=CURVE_BAND, linewidth=0)


def _colour(group: int) -> str:
    return PALETTE[group % len(PALETTE)]


def _dots(group: int) -> tuple[int, tuple[int, ...]]:
    """The line of a row without a ratio: dots, or dots with one or two dashes between them."""
    return 0, (1, 2) + (5, 2) * (group % 3)


def _folded(label: str, width: int) -> str:
    """In lines of so many characters: no label runs out of its panel."""
    return textwrap.fill(label, width)


def _shares(values: np.ndarray) -> np.ndarray:
    return np.full(len(values), 100 / max(1, len(values)))


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height))


def _panels(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = _figure(WIDTH * (columns / 2 if columns < 2 else 1), height * rows + 0.4)
    return figure, [figure.add_subplot(rows, columns, at + 1) for at in range(count)]


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element that loads nothing, the same bytes for the same numbers, in light and dark."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's browser has its own fonts
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(rf"({INK}|#000000)", "currentColor", text)
    text = text.replace(f"'{LAYOUT_FONT}'", PAGE_FONTS)
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    return re.sub(r'<g id="[^"]*"', "<g", text)  # these ids would repeat from plot to plot, and nothing refers to them
