"""What `--json` of plan and validate prints, as plain data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selectit.cost.price import PlanPrice
    from selectit.plan.graph import Plan, Stage
    from selectit.plan.status import State
    from selectit.report.sections.power import BenchmarkPower, Power


def as_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def of_plan(plan: Plan, states: Mapping[Stage, State], price: PlanPrice | None) -> dict[str, Any]:
    stages = []
    for stage in plan.stages:
        now = states[stage]
        folder = None if now.fingerprint is None else f"{stage.kind}-{now.fingerprint[:16]}"
        described = {"status": now.status, "kind": stage.kind, "title": plan.title(stage), "why": now.why}
        stages.append({**described, "fingerprint": now.fingerprint, "artifact": folder})
    counts: dict[str, int] = {}
    for now in states.values():
        counts[now.status] = counts.get(now.status, 0) + 1
    price_fields = None if price is None else of_price(price)
    return {"rows": [row.label for row in plan.rows], "num_stages": counts, "stages": stages, "price": price_fields}


def of_price(price: PlanPrice) -> dict[str, Any]:
    lines = []
    for line in price.lines:
        work = dataclasses.asdict(line.work)
        keep = ("memory_bytes", "disk_bytes", "judge_calls", "judge_usd", "num_items")
        numbers = {"flops": line.work.flops, **{key: work[key] for key in keep}}
        lines.append({"title": line.title, "seconds": line.seconds, **numbers, "unknown": list(line.unknown)})
    return {
        "seconds": price.seconds, "num_unknown": price.num_unknown, "memory_bytes": price.memory_bytes,
        "disk_bytes": price.disk_bytes, "judge_calls": price.judge_calls, "judge_usd": price.judge_usd,
        "stages": lines, "assumptions": list(price.assumptions),
    }  # fmt: skip


def of_power(power: Power) -> dict[str, Any]:
    """Differences, spreads and shares are fractions, but `points`."""
    lines = [{**dataclasses.asdict(one.planned), **_without_planned(one)} for one in power.lines]
    return {"points": power.points, "alpha": power.alpha, "benchmarks": lines, "notes": list(power.notes)}


def _without_planned(line: BenchmarkPower) -> dict[str, Any]:
    return {field.name: getattr(line, field.name) for field in dataclasses.fields(line) if field.name != "planned"}


def of_errors(recipe: str, errors: Sequence[str]) -> dict[str, Any]:
    return {"recipe": recipe, "valid": not errors, "errors": list(errors)}
