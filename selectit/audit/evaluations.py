"""The evaluations in a folder that `selectit compare` is given, and which of two folders belong together.

Reads results.csv of a report, and manifests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selectit.audit.trace import is_artifact, open_results
from selectit.errors import UserError, did_you_mean
from selectit.store.artifact import read_manifest
from selectit.store.names import ARTIFACTS_FOLDER, MANIFEST, RESULTS_FILE

SEEDS = ("select_seed", "train_seed", "eval_seed")
WHAT = "an evaluate artifact, the folder of a report (runs/<recipe name>), or --out of selectit evaluate"


@dataclass(frozen=True)
class Evaluation:
    benchmark: str
    path: Path
    """The artifact folder."""
    row: str = ""
    seeds: str = ""
    """select/train/eval; both are empty where the folder is not a report's."""


def read_evaluations(path: Path) -> list[Evaluation]:
    """Every finished evaluation of an artifact folder, a report, or what `selectit evaluate --out` wrote.

    Raises: UserError where there is none, or where a benchmark was evaluated twice and it is not said which is meant.
    """
    if is_artifact(path):
        return [_of_artifact(path)]
    if (path / ARTIFACTS_FOLDER).is_dir() and (path / RESULTS_FILE).is_file():
        folders = sorted(folder.parent for folder in (path / ARTIFACTS_FOLDER).glob(f"evaluate-*/{MANIFEST}"))
        found = [_of_artifact(folder) for folder in folders]
        for one in found:
            alike = [other.path for other in found if other.benchmark == one.benchmark]
            if len(alike) > 1:
                raise UserError(
                    f"{path} holds {len(alike)} evaluations of {one.benchmark}; name one of "
                    f"{', '.join(map(str, alike))}"
                )
        if not found:
            raise UserError(f"{path} holds no finished evaluation; run selectit evaluate again")
        return found
    if not path.is_dir():
        raise UserError(f"{path} does not exist; name {WHAT}")
    results = open_results(path)
    finished: dict[tuple[str, str, str], Evaluation] = {}
    for line in results.lines:
        folder, seeds = results.artifacts / line["artifact"], "/".join(line[name] for name in SEEDS)
        if line["artifact"] and is_artifact(folder):  # another metric of the same evaluation has a later line
            one = Evaluation(line["benchmark"], folder, line["row"], seeds)
            finished.setdefault((line["row"], seeds, line["artifact"]), one)
    if not finished:
        raise UserError(f"{path} names no evaluation whose artifact folder is in {results.artifacts}")
    return list(finished.values())


def _of_artifact(path: Path) -> Evaluation:
    manifest = read_manifest(path)
    if manifest is None or manifest["kind"] != "evaluate":
        kind = manifest["kind"] if manifest else "unfinished"
        raise UserError(f"{path} is not an evaluation (it is: {kind}); name {WHAT}")
    return Evaluation(manifest["config"]["benchmark"]["name"], path)


def of_row(found: Sequence[Evaluation], row: str | None, path: Path, option: str) -> list[Evaluation]:
    """Those of one row of a report.

    Raises: UserError for a row that is not there, or where the folder has no rows.
    """
    if row is None:
        return list(found)
    rows = list(dict.fromkeys(one.row for one in found if one.row))
    if not rows:
        raise UserError(f"{option} {row}: {path} is not the folder of a report, so it has no rows; leave {option} out")
    if row not in rows:
        raise UserError(f"{option} {row}: {path} has the rows {', '.join(rows)}.{did_you_mean(row, rows)}")
    return [one for one in found if one.row == row]


def matched(ours: Sequence[Evaluation], theirs: Sequence[Evaluation]) -> list[tuple[Evaluation, Evaluation]]:
    """Evaluations of the same benchmark and seeds; where one side has no seeds, or one evaluation of a benchmark,
    that one with each of the other side. Rows of two reports are matched by their label if both sides have several.
    """
    rows = [{one.row for one in side} for side in (ours, theirs)]
    by_row = all(len(side) > 1 for side in rows)
    pairs = []
    for benchmark in dict.fromkeys(one.benchmark for one in ours):
        left, right = ([one for one in side if one.benchmark == benchmark] for side in (ours, theirs))
        alone = len(left) == 1 or len(right) == 1
        pairs += [
            (one, other)
            for one in left
            for other in right
            if (not by_row or one.row == other.row) and (alone or one.seeds == other.seeds)
        ]
    return pairs


def place(one: Evaluation, other: Evaluation) -> str:
    """Row and seeds of the two, once where they are the same; empty of single artifacts."""
    return " and ".join(dict.fromkeys(text for side in (one, other) if (text := f"{side.row} {side.seeds}".strip())))
