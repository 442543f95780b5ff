"""What `selectit plan --price` prints.

Writes to the terminal only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selectit.cost.price import PlanPrice
from selectit.text import duration

UNKNOWN = "unknown"


def print_price(price: PlanPrice, console: Console) -> None:
    console.print(
        f"\nEstimated remaining cost ({price.num_done} done stages cost nothing)", style="bold", highlight=False
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", overflow="fold")
    in_usd = price.judge_usd is not None
    columns = ["PFLOP", "time", "memory", "disk"] + ["judge calls"] * bool(price.judge_calls) + ["judge USD"] * in_usd
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    has_notes = any(line.unknown for line in price.lines)
    if has_notes:
        table.add_column("note", overflow="fold")
    reasons: dict[str, int] = {}
    for line in price.lines:
        numbers = [reasons.setdefault(reason, len(reasons) + 1) for reason in line.unknown]
        table.add_row(
            escape(line.title), _number(line.work.flops, 1e15), _time(line.seconds),
            size(line.work.memory_bytes), size(line.work.disk_bytes),
            *([str(line.work.judge_calls or "")] if price.judge_calls else []),
            *([_usd(line.work.judge_usd)] if in_usd else []),
            *([", ".join(f"unknown {number}" for number in numbers)] if has_notes else []),
        )  # fmt: skip
    known = price.seconds > 0 or not price.num_unknown
    table.add_row(
        "in total" + (f", {price.num_unknown} stages unknown" if price.num_unknown else ""),
        "", f"{price.seconds / 3600:.3g} h" if known else UNKNOWN, f"{size(price.memory_bytes)} at most",
        size(price.disk_bytes), *([str(price.judge_calls)] if price.judge_calls else []),
        *([_usd(price.judge_usd)] if in_usd else []), style="bold",
    )  # fmt: skip
    console.print(table)
    for reason, number in reasons.items():
        console.print(f"unknown {number}: {reason}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if known and price.lines:
        end = datetime.now() + timedelta(seconds=price.seconds)
        least = "at the earliest " if price.num_unknown else ""
        console.print(f"If started now, it finishes {least}on {end:%Y-%m-%d at %H:%M}.", highlight=False)
    if price.assumptions:
        console.print("Assumptions", style="bold")
        for assumption in price.assumptions:
            console.print(f"- {assumption}", highlight=False, markup=False, soft_wrap=True)


def _usd(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _number(value: float | None, unit: float) -> str:
    return UNKNOWN if value is None else f"{value / unit:.3g}"


def _time(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else duration(seconds)


def size(num_bytes: float | None) -> str:
    if num_bytes is None:
        return UNKNOWN
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes / 1024:.0f} KiB"
