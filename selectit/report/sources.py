"""Where each number came from: artifact folder, fingerprint, device, library versions and commit; notes of results.

Reads the manifests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from selectit.execution import Outcome
from selectit.graph import Plan, Stage
from selectit.report import formats
from selectit.report.formats import ABSENT, Listing
from selectit.report.results import UNTOUCHED, Result, tell_rows


def sources(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> tuple[Listing, Listing]:
    """Stages in order, each with the number of its environment; and the environments.

    A folder's name ends in the first 16 characters of its fingerprint; results.csv and report.json have all 64.
    """
    environments: dict[str, int] = {}
    rows = []
    for stage in plan.stages:
        outcome = outcomes.get(stage, UNTOUCHED)
        if outcome.artifact is None:
            reason = f"{'failed' if outcome.failed else 'not run'}: {formats.one_line(outcome.reason)}"
            rows.append((plan.title(stage), reason, ABSENT, ABSENT, ABSENT))
            continue
        manifest = outcome.artifact.manifest
        environment = json.dumps(_environment(manifest), sort_keys=True)
        number = environments.setdefault(environment, len(environments) + 1)
        rows.append(
            (
                plan.title(stage), outcome.artifact.path.name,
                str(manifest.get("finished", ABSENT)), f"E{number}",
                formats.duration(float(manifest.get("seconds", 0))),
            )
        )  # fmt: skip
    told = [_told(number, json.loads(environment)) for environment, number in environments.items()]
    columns = ("stage", "artifact folder, by fingerprint", "finished", "environment", "time")
    return (
        Listing(columns, tuple(rows), num_text_columns=4),
        Listing(("environment", "device", "commit", "libraries"), tuple(told), num_text_columns=4),
    )


def _environment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: manifest.get(key) for key in ("device", "git_commit", "git_dirty", "libraries")}


def _told(number: int, environment: Mapping[str, Any]) -> tuple[str, ...]:
    dirty = {True: ", with uncommitted changes", False: "", None: ", state of the checkout not known"}
    commit = f"{environment['git_commit'] or 'no commit'}{dirty[environment['git_dirty']]}"
    libraries = [f"{name} {version}" for name, version in (environment["libraries"] or {}).items() if version]
    return f"E{number}", environment["device"] or "not known", commit, ", ".join(libraries) or "not known"


def result_notes(plan: Plan, results: Sequence[Result]) -> list[str]:
    """What the evaluation has to say of its numbers, each note once, with the places it is true of."""
    places: dict[tuple[str, str], dict[str, None]] = {}
    for result in results:
        without = [f"no {metric}: {why}" for metric, why in result.record.get("not_computed", {}).items()]
        for note in (*result.record.get("notes", ()), *without):
            places.setdefault((result.cell.benchmark, formats.one_line(note)), {})[result.row.label] = None
    labels = dict.fromkeys(result.row.label for result in results)
    return [
        f"{benchmark}{'' if len(rows) == len(labels) else f' of {tell_rows(plan, rows)}'}: {note}"
        for (benchmark, note), rows in places.items()
    ]
