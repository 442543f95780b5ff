"""A report's table as plain data, for `selectit report --json` and `selectit.run_recipe`."""

from __future__ import annotations

from typing import Any

from selectit.report.write import Report


def of_report(report: Report) -> dict[str, Any]:
    table = report.table
    rows = []
    for line in table.lines:
        entries = zip((*table.benchmarks, "average"), (*line.entries, line.average), strict=True)
        cells = {name: _cell(entry) for name, entry in entries}
        rows.append({"row": line.label, "is_baseline": line.is_baseline, "cells": cells})
    return {
        "folder": str(report.folder), "written": report.written, "changed_by_hand": list(report.changed),
        "demonstration": bool(table.demonstration), "rows": rows, "notes": list(table.notes),
        "caption": list(table.caption),
    }  # fmt: skip


def _cell(entry: Any) -> dict[str, Any]:
    return {"mean": entry.mean, "error": entry.error, "failed": entry.failed, "mark": entry.mark, "text": entry.text}
