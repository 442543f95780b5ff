"""The files of a report: are they as they were written, and are they what its artifacts give now?

Reads report.json and the files it names; makes the report again in memory where the recipe is known; writes nothing.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from selectit.audit.trace import ResultsFolder
from selectit.audit.verify import Finding, What, WrongNumber, compare_tables
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import Recipe
from selectit.report.record import LIBRARIES, MARK, changed_files, files_of, is_sealed, read_record
from selectit.report.write import make_report
from selectit.store.names import (
    COMPARISONS_CSV,
    OVERLAP_CSV,
    REPORT_FILES,
    REPORT_PAGE,
    REPORT_RECORD,
    REPORT_TEXT,
    RESULTS_CSV,
    TABLE_TEX,
)

MADE_WITH = "made_with"
SHOWN = 60
TOLERANCE = 1e-9


def check_written(folder: Path) -> list[Finding]:
    """Every file of the report against the sha256 that report.json keeps of it, and report.json against its own."""
    record = read_record(folder)
    if record is None:
        why = (
            "not JSON"
            if (folder / REPORT_RECORD).is_file()
            else "gone, so it is unknown how the other files were written"
        )
        return [Finding("changed" if (folder / REPORT_RECORD).is_file() else "missing", REPORT_RECORD, why)]
    files = files_of(record)
    if not files:
        return [Finding("changed", REPORT_RECORD, "it holds no sha256 of the report's files")]
    findings = []
    for name in changed_files(folder, record):
        if (folder / name).is_file():
            findings.append(Finding("changed", name, "not as it was written: its sha256 is another one"))
        else:
            findings.append(Finding("missing", name, "it was written with the report"))
    extras = sorted(path.name for path in folder.iterdir() if path.name not in (REPORT_RECORD, MARK, *files))
    return findings + [Finding("extra", name, "no file of the report; it is not packed") for name in extras]


def as_reported(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe of a pack, which is `recipe.yaml` there, under the file name that the packed report was made with."""
    file = _section(_section(read_record(folder), "depends_on"), "recipe").get("file")
    return replace(recipe, path=recipe.path.with_name(Path(str(file)).name)) if file else recipe


def check_made_again(
    results: ResultsFolder, plan: Plan, outcomes: Mapping[Stage, Outcome]
) -> tuple[list[WrongNumber], list[Finding]]:
    """The report as it stands against the one that the finished artifacts give: results.csv cell by cell, which holds
    its means and differences too, and every text as a whole.
    """
    standing = read_record(results.path)
    outcomes = _with_recorded_reasons(plan, outcomes, standing)
    made, texts, _ = make_report(plan, outcomes)
    return compare_tables(results.lines, _lines(texts[RESULTS_CSV])), _made_again(results.path, standing, made, texts)


def _made_again(
    folder: Path, standing: Mapping[str, Any] | None, made: Mapping[str, Any], texts: Mapping[str, str]
) -> list[Finding]:
    if standing is None or not files_of(standing):
        return _compare_texts(folder, texts, "")
    other = _other_makers(standing, made)
    why = f"made with {other}; its numbers are those of the artifacts" if other else ""
    findings = _compare_texts(folder, texts, why) + (_numbers(folder, texts) if other else [])
    recorded, now = (_plain(_section(record, "depends_on"), MADE_WITH) for record in (standing, made))
    if recorded != now:
        where = next(_differences(recorded, now, "depends_on"), "depends_on")
        differs = any(finding.differs for finding in findings) or not is_sealed(standing)
        what: What = "changed" if differs else "not verifiable"
        findings.insert(0, Finding(what, REPORT_RECORD, f"made of something else: {where}"))
    else:
        pairs = {key: (_plain(standing.get(key), ""), _plain(made[key], "")) for key in ("comparisons", "artifacts")}
        differing = [where for key, (a, b) in pairs.items() for where in _differences(a, b, key)]
        if differing:
            what = "not verifiable" if other and is_sealed(standing) else "changed"
            findings.insert(0, Finding(what, REPORT_RECORD, f"not what the artifacts give: {differing[0]}"))
    return findings


def _section(record: Mapping[str, Any] | None, key: str) -> dict[str, Any]:
    found = (record or {}).get(key)
    return found if isinstance(found, dict) else {}


def _other_makers(standing: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """What made the report that stands, where that is not what would make it now."""
    before, now = (_section(_section(record, "depends_on"), MADE_WITH) for record in (standing, made))
    names = ("python", *LIBRARIES)
    libraries = [f"{name} {before.get(name)} (here {now[name]})" for name in names if before.get(name) != now[name]]
    return ", ".join([*(["another version of this project"] if before.get("code") != now["code"] else []), *libraries])


def _with_recorded_reasons(
    plan: Plan, outcomes: Mapping[Stage, Outcome], standing: Mapping[str, Any] | None
) -> dict[Stage, Outcome]:
    """Of a stage without an artifact, then and now, the reason is the run's, which no other file has as it was."""
    recorded = _section(standing, "depends_on").get("stages") or []
    whole = dict(outcomes)
    if len(recorded) != len(plan.stages):
        return whole
    for stage, state in zip(plan.stages, recorded, strict=True):
        if stage in whole and whole[stage].artifact is None and "reason" in state:
            whole[stage] = replace(whole[stage], reason=state["reason"], failed=state["failed"])
    return whole


def _compare_texts(folder: Path, texts: Mapping[str, str], not_verifiable: str) -> list[Finding]:
    """Args: not_verifiable: why a file that differs may still be right; empty where it cannot."""
    findings = []
    for name in REPORT_FILES:
        path, text = folder / name, texts[name]
        if not path.is_file():
            findings.append(Finding("missing", name, "a report has it"))
        elif path.read_bytes() != text.encode():
            found = path.read_text(encoding="utf-8", errors="replace")
            if not_verifiable and not (other := _other_number(name, found, text)):
                findings.append(Finding("not verifiable", name, not_verifiable))
            else:
                why = other if not_verifiable else _first_line(found, text)
                findings.append(Finding("changed", name, f"not what the artifacts give: {why}"))
    return findings


TABLES = {
    TABLE_TEX: (r"\midrule", r"\bottomrule"),
    REPORT_TEXT: ("## Results", "\n- "),
    REPORT_PAGE: ('id="results"', "</table>"),
}
"""File -> the text before and after the rows of its table of results."""
NUMBER = re.compile(r"[−+-]?\d[\d,]*\.\d+|<0\.1")
MARKUP = re.compile(r"<[a-z/][^>]*>")


def _other_number(name: str, found: str, made: str) -> str:
    """The first number of the table of results that differs; empty where none does, or the file has no such table."""
    if name not in TABLES:
        return ""
    (ours, theirs) = (_numbers_of_table(text, *TABLES[name]) for text in (found, made))
    pairs = itertools.zip_longest(ours, theirs, fillvalue="none")
    return next((f"{one} in the table of results, made again {other}" for one, other in pairs if one != other), "")


def _numbers_of_table(text: str, begin: str, end: str) -> list[str]:
    return NUMBER.findall(MARKUP.sub(" ", text.partition(begin)[2].partition(end)[0]))


def _first_line(found: str, made: str) -> str:
    """The first line that differs, with the part of it that does."""
    for number, (one, other) in enumerate(zip(found.split("\n"), made.split("\n"), strict=False), start=1):
        if one != other:
            start = max(
                0,
                sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
                - SHOWN // 3,
            )
            return f"line {number}: {one[start : start + SHOWN]!r}, made again {other[start : start + SHOWN]!r}"
    return f"{found.count(chr(10))} lines, made again {made.count(chr(10))}"


def _numbers(folder: Path, texts: Mapping[str, str]) -> list[Finding]:
    """comparisons.csv and overlap.csv by number, in the columns that both have; results.csv has its own check."""
    findings = []
    for name in (COMPARISONS_CSV, OVERLAP_CSV):
        if not (folder / name).is_file():
            continue
        found, made = _lines((folder / name).read_text(encoding="utf-8", errors="replace")), _lines(texts[name])
        if len(found) != len(made):
            findings.append(Finding("changed", name, f"{len(found)} lines, made again {len(made)}"))
            continue
        for number, (one, other) in enumerate(zip(found, made, strict=True), start=2):
            differing = [key for key in one if key in other and not _is_same(one[key], other[key])]
            if differing:
                key = differing[0]
                why = f"line {number}, {key}: {one[key]}, made again {other[key]} by another version"
                findings.append(Finding("changed", name, why))
                break
    return findings


def _lines(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def _is_same(one: Any, other: Any) -> bool:
    try:
        return abs(float(one) - float(other)) <= TOLERANCE
    except (TypeError, ValueError):
        return bool(one == other)


def _plain(value: Any, without: str) -> Any:
    """As JSON reads it back, without one key."""
    plain = json.loads(json.dumps(value))
    return {key: inner for key, inner in plain.items() if key != without} if isinstance(plain, dict) else plain


def _differences(one: Any, other: Any, where: str) -> Iterator[str]:
    """`key.0.key: value, now value` of each leaf that differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _differences(one.get(key), other.get(key), f"{where}.{key}" if where else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differences(a, b, f"{where}.{at}")
    elif one != other:
        yield f"{where}: {one!s:.{SHOWN}}, now {other!s:.{SHOWN}}"
