"""`selectit verify`: is every file behind a table still the one its manifest describes, and every number its own?

Reads artifact folders and results.csv; writes nothing. What a manifest cannot prove is said, not assumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selectit.audit.trace import ResultsFolder
from selectit.report.tables.results import SECONDARY_METRICS, record_of
from selectit.store.artifact import content_hash, listed_files, read_manifest
from selectit.store.fingerprint import Hasher, digest
from selectit.store.kinds import KINDS
from selectit.store.names import MANIFEST, RESULT_FILE

PACK = "pack.json"
"""In an exported pack: the files that were left out of it, with their sha256."""

What = Literal["changed", "missing", "extra", "not verifiable", "left out"]


@dataclass(frozen=True)
class Finding:
    what: What
    file: str
    """Relative to the artifact folder."""
    why: str

    @property
    def differs(self) -> bool:
        return self.what in ("changed", "missing")


@dataclass(frozen=True)
class CheckedArtifact:
    """One artifact folder."""

    name: str
    findings: tuple[Finding, ...]
    num_files: int = 0
    """Files whose bytes were compared."""
    num_bytes: int = 0

    @property
    def differs(self) -> bool:
        return any(finding.differs for finding in self.findings)

    @property
    def verdict(self) -> str:
        """`whole`, or the worst that was found."""
        order: tuple[What, ...] = ("changed", "missing", "not verifiable", "left out", "extra")
        worst = next((what for what in order if any(f.what == what for f in self.findings)), None)
        return "whole" if worst in (None, "extra") else str(worst)


def left_out(artifacts: Path) -> dict[str, str]:
    """`<folder>/<file>` -> sha256 of what an exported pack leaves out; {} for a runs folder."""
    path = artifacts.parent / PACK
    return json.loads(path.read_text(encoding="utf-8"))["left_out"] if path.is_file() else {}


def check_artifact(path: Path, absent: Mapping[str, str], hasher: Hasher) -> CheckedArtifact:
    """Compare every file with the manifest, the manifest with itself and with its inputs' manifests.

    Args: absent: see `left_out`.
    """
    manifest = read_manifest(path)
    if manifest is None:
        why = "there is no such folder" if not path.is_dir() else "absent or not JSON: unfinished work"
        return CheckedArtifact(path.name, (Finding("missing", MANIFEST, why),))
    findings = [*_check_files(path, manifest, absent, hasher), *_check_manifest(path, manifest)]
    if not any(f.what in ("changed", "missing", "left out") for f in findings):
        findings += _check_content(path, manifest, hasher)
    compared = [name for name in manifest["files"] if name in manifest.get("hashes", {}) and (path / name).is_file()]
    return CheckedArtifact(
        path.name, tuple(findings), len(compared), sum((path / name).stat().st_size for name in compared)
    )


def _check_files(path: Path, manifest: Mapping[str, Any], absent: Mapping[str, str], hasher: Hasher) -> list[Finding]:
    hashes: Mapping[str, str] = manifest.get("hashes", {})
    findings, sized = [], []
    for name, size in manifest["files"].items():
        file = path / name
        if not file.is_file():
            if (noted := absent.get(f"{path.name}/{name}")) is not None:
                why = (
                    "not in this pack" if noted == hashes.get(name) else "not in this pack, and noted with other bytes"
                )
                findings.append(Finding("left out" if noted == hashes.get(name) else "changed", name, why))
            else:
                findings.append(Finding("missing", name, f"{size:,} bytes when it was written"))
        elif (found := file.stat().st_size) != size:
            findings.append(Finding("changed", name, f"{found:,} bytes, {size:,} when it was written"))
        elif name not in hashes:
            sized.append(name)
        elif (now := hasher.file(file)) != hashes[name]:
            findings.append(Finding("changed", name, f"sha256 {now[:12]}…, {hashes[name][:12]}… when it was written"))
    if sized:
        why = (
            f"{len(sized)} files by size only (a manifest from before file hashes); what later stages read, as a whole"
        )
        findings.append(Finding("not verifiable", sized[0] if len(sized) == 1 else "", why))
    extras = [name for name in listed_files(path) if name not in manifest["files"]]
    return findings + [Finding("extra", name, "the manifest does not list it") for name in extras]


def _check_manifest(path: Path, manifest: Mapping[str, Any]) -> list[Finding]:
    findings = []
    if digest(manifest["identity"]) != manifest["fingerprint"]:
        findings.append(Finding("changed", MANIFEST, "its identity does not hash to its fingerprint"))
    for name, folder in manifest["inputs"].items():
        other, wanted = read_manifest(path.parent / folder), manifest["identity"]["inputs"][name]
        if other is not None and other["content"] != wanted:
            why = f"it was made from {folder} with content {wanted[:12]}…, which now has {other['content'][:12]}…"
            findings.append(Finding("changed", MANIFEST, why))
    return findings


def _check_content(path: Path, manifest: Mapping[str, Any], hasher: Hasher) -> list[Finding]:
    """The hash that later stages were keyed by; an extra file among weights changes it."""
    kind = KINDS.get(manifest["kind"])
    if kind is None or kind.version != manifest["identity"]["version"]:
        return [Finding("not verifiable", "", "another version of this project wrote it: content is not hashed as now")]
    try:
        now = content_hash(path, kind.content, hasher)
    except ValueError as error:
        return [Finding("changed", ", ".join(kind.content), f"does not parse ({error})")]
    if now == manifest["content"]:
        return []
    return [Finding("changed", ", ".join(kind.content), "what later stages read is not what the manifest describes")]


@dataclass(frozen=True)
class WrongNumber:
    """A place of results.csv that differs."""

    row: str
    benchmark: str
    column: str
    written: str
    found: str


def check_numbers(results: ResultsFolder) -> tuple[int, list[WrongNumber]]:
    """Every value, standard error and count of results.csv against result.json of the artifact it names.

    Returns: how many numbers were compared, and those that differ.
    """
    wrong, num_compared = [], 0
    for line in results.lines:
        path = results.artifacts / line["artifact"]
        if not line["artifact"]:
            if line["value"]:
                wrong.append(_wrong(line, "value", "no artifact is named"))
            continue
        manifest = read_manifest(path)
        if manifest is None or not (path / RESULT_FILE).is_file():
            wrong.append(_wrong(line, "artifact", f"no {RESULT_FILE} or {MANIFEST} in {path}"))
            continue
        try:
            record = json.loads((path / RESULT_FILE).read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            wrong.append(_wrong(line, "artifact", f"{path / RESULT_FILE} is not JSON"))
            continue
        if line["metric"] in SECONDARY_METRICS:
            record = record_of(record, line["metric"])
        scored = record["status"] == "scored" and record["value"] is not None
        expected = {
            "fingerprint": manifest["fingerprint"],
            "metric": record["metric"],
            "num_items": record["num_items"],
            "value": record["value"] if scored else None,
            "stderr": record["stderr"] if scored else None,
        }
        for column, value in expected.items():
            text = "" if value is None else str(value)
            num_compared += column in ("num_items", "value", "stderr") and bool(text)
            if line[column] != text:
                wrong.append(_wrong(line, column, text or "none"))
    return num_compared, wrong


def compare_tables(written: Sequence[Mapping[str, str]], made: Sequence[Mapping[str, str]]) -> list[WrongNumber]:
    """results.csv as it stands against the one that the report would write now, where either has a number.

    This is what holds the derived columns (means, spreads, differences) and the artifacts the recipe asks for.
    """
    key = ("row", "benchmark", "select_seed", "train_seed", "eval_seed")
    stands = {tuple(line[k] for k in key): line for line in written}
    wrong = []
    for line in made:
        old = stands.pop(tuple(line[k] for k in key), None)
        if old is None:
            wrong.append(WrongNumber(line["row"], line["benchmark"], "row", "absent", "in the recipe"))
        elif old.get("value") or line["value"]:
            wrong += [_wrong(old, c, line[c]) for c in line if c != "reason" and old.get(c, "") != line[c]]
    wrong += [WrongNumber(line["row"], line["benchmark"], "row", "in the table", "absent") for line in stands.values()]
    return wrong


def _wrong(line: Mapping[str, str], column: str, found: str) -> WrongNumber:
    return WrongNumber(line["row"], line["benchmark"], column, line.get(column, ""), found)
