"""What `selectit compare` prints.

Writes to the terminal only.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selectit.report.render import formats
from selectit.report.render.formats import ABSENT, p_value
from selectit.report.tables.item_texts import GradedAnswer
from selectit.report.two_models import TwoModels
from selectit.statistics import CONFIDENCE

INTERVAL = f"{CONFIDENCE:.0%} interval"
COLUMNS = ("benchmark", "A", "B", "A - B", INTERVAL, "p, Holm", "result", "items", "only A, B")
NOTE = (
    "Percent and points. Tests are over items and about these two models: another training seed of the same methods "
    "may give another result. Only A, B: items that one of the two scores higher than the other; of scores 0 and "
    "1, those that only one solves."
)


def print_models(found: Sequence[TwoModels], console: Console) -> None:
    for place in dict.fromkeys(one.place for one in found):
        if place:
            _line(console, f"\n{place}", style="bold")
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for column in COLUMNS:
            table.add_column(column, no_wrap=column in ("benchmark", INTERVAL), overflow="fold")
        for one in found:
            if one.place == place:
                table.add_row(*map(Text, _cells(one)))
        console.print(table)
    for one in found:
        if one.reason:
            _line(console, f"{_where(one)}: {one.reason}", style="yellow")
    tests = dict.fromkeys(one.test for one in found if one.test)
    _line(console, NOTE + (f" Tests: {'; '.join(tests)}." if tests else ""), style="dim")
    for one in found:
        for item in one.items:
            _line(console, f"\n---- {_where(one)}: {item.task}, item {item.item_id}", style="bold")
            _line(console, item.prompt)
            _line(console, f"expected: {item.target or ABSENT}")
            _line(console, f"A, score {_answer(item.ours)}")
            _line(console, f"B, score {_answer(item.theirs)}")


def _cells(one: TwoModels) -> list[str]:
    interval = ABSENT if one.low is None else f"{_points(one.low)} to {_points(one.high)}"
    only = f"{formats.count(one.num_higher)}, {formats.count(one.num_lower)}"
    return [
        one.benchmark, _percent(one.value), _percent(one.other_value), _points(one.difference), interval,
        p_value(one.p_holm), one.word, *((formats.count(one.num_items), only) if one.num_items else (ABSENT, ABSENT)),
    ]  # fmt: skip


def _where(one: TwoModels) -> str:
    return f"{one.benchmark} ({one.place})" if one.place else one.benchmark


def _answer(answer: GradedAnswer) -> str:
    return f"{answer.score:g}: {answer.text}" + (f" [read as {answer.read_as}]" if answer.read_as else "")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _percent(fraction: float | None) -> str:
    return ABSENT if fraction is None else formats.value(formats.percent(fraction))


def _points(fraction: float | None) -> str:
    return ABSENT if fraction is None else formats.points(formats.percent(fraction))
