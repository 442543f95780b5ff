"""Sources of each number: artifact folder, fingerprint, device, library versions and commit; notes of results.

Reads the manifests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Bullets, Listing, Section
from selectit.report.tables.results import UNTOUCHED, Result, rows_text
from selectit.text import duration


def stages(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> tuple[Section, Section]:
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
                duration(float(manifest.get("seconds", 0))),
            )
        )  # fmt: skip
    lines = [_environment_row(number, json.loads(environment)) for environment, number in environments.items()]
    columns = ("stage", "artifact folder, by fingerprint", "finished", "environment", "time")
    folders = {outcome.artifact.path.name for outcome in outcomes.values() if outcome.artifact}
    listing = Listing(columns, tuple(rows), num_text_columns=4, style="sources", folders=folders)
    made_on = Listing(
        ("environment", "device", "commit", "libraries"), tuple(lines), num_text_columns=4, style="sources"
    )
    return Section("Stages", (listing,)), Section("Environments", (made_on,))


def inputs(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Section:
    return Section("Inputs", (given(plan, outcomes),))


def given(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Listing:
    """Inputs from outside: pools, models and benchmark data, each by its content or its commit on the hub."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for stage in plan.stages:
        artifact = outcomes.get(stage, UNTOUCHED).artifact
        if artifact is not None:
            identity, config = artifact.manifest["identity"]["config"], artifact.manifest["config"]
            for key, where, content in _locations(identity, config):
                key = f"{key} of {config['benchmark']['name']}" if key == "data" else key
                found.setdefault((key, where, content), {})[stage.kind] = None
    rows = [(key, where, content, formats.names(list(kinds))) for (key, where, content), kinds in found.items()]
    columns = ("setting", "name", "content", "read by")
    return Listing(columns, tuple(sorted(rows)), num_text_columns=4, style="sources")


def _locations(identity: Any, config: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted key, name of the file, folder or hub id, and what identifies it."""
    if not isinstance(identity, dict) or config is None:
        return
    if identity.keys() == {"sha256"}:
        yield key.removesuffix(".path"), Path(config).name, f"sha256 {identity['sha256']}"
    elif identity.keys() == {"hub", "revision"}:
        yield key.removesuffix(".path"), identity["hub"], f"commit {identity['revision']}"
    else:
        for name, value in identity.items():
            inner = config.get(name) if isinstance(config, dict) else None
            found = _locations(value, inner, f"{key}.{name}" if key else name)
            part = _part(identity) if name == "path" else ""
            yield from ((setting, where, f"{content}{part}") for setting, where, content in found)


def _part(pool: Mapping[str, Any]) -> str:
    """Which rows of a pool are read, where not all of them are."""
    sample, limit = pool.get("sample"), pool.get("limit")
    drawn = f"; {sample['num_rows']:,} of its rows drawn with seed {sample['seed']}" if sample else ""
    return drawn + (f"; the first {limit:,} {'of these' if drawn else 'rows'} only" if limit else "")


def _environment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: manifest.get(key) for key in ("device", "git_commit", "git_dirty", "libraries")}


def _environment_row(number: int, environment: Mapping[str, Any]) -> tuple[str, ...]:
    dirty = {True: ", with uncommitted changes", False: "", None: ", state of the checkout not known"}
    commit = f"{environment['git_commit'] or 'no commit'}{dirty[environment['git_dirty']]}"
    libraries = [f"{name} {version}" for name, version in (environment["libraries"] or {}).items() if version]
    return f"E{number}", environment["device"] or "not known", commit, ", ".join(libraries) or "not known"


def notes(plan: Plan, results: Sequence[Result]) -> Section | None:
    """The notes of the evaluations about their numbers, each once, with the places it is true of."""
    places: dict[tuple[str, str], dict[str, None]] = {}
    for result in results:
        without = [f"no {metric}: {why}" for metric, why in result.record.get("not_computed", {}).items()]
        for note in (*result.record.get("notes", ()), *without):
            places.setdefault((result.cell.benchmark, formats.one_line(note)), {})[result.row.label] = None
    labels = dict.fromkeys(result.row.label for result in results)
    sentences = [
        f"{benchmark}{'' if len(rows) == len(labels) else f' of {rows_text(plan, rows)}'}: {note}"
        for (benchmark, note), rows in places.items()
    ]
    return Section("Notes of the evaluation", (Bullets(sentences),)) if sentences else None
