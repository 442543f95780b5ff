"""What goes into an exported pack, and the README that describes it.

Reads a finished recipe: its report, the artifacts behind it, prompts, templates, and the versions installed here.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from selectit import yaml_text
from selectit.audit.pack_inputs import INPUTS, WEIGHTS, Inputs, as_written
from selectit.audit.trace import with_inputs
from selectit.audit.verify import PACK
from selectit.config import ScoreStage
from selectit.data.jsonl import iter_jsonl
from selectit.errors import UserError
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.report.tables.results import recipe_of
from selectit.store.artifact import Artifact
from selectit.store.fingerprint import Hasher
from selectit.store.names import ARTIFACTS_FOLDER, MANIFEST, REPORT_FILES, REPORT_RECORD, SCORES_FILE
from selectit.store.provenance import provenance
from selectit.templates import OWN, chat_template

MOST_CHARACTERS = 100
"""Of the name of a subset's file."""
SUMS = "SHA256SUMS"

Entries = dict[str, bytes | Path]
"""Path in the pack -> its bytes, or the file to copy."""


@dataclass(frozen=True)
class Pack:
    name: str
    entries: Entries
    expected: Mapping[str, str]
    """Path in the pack -> sha256 that a manifest has for it."""
    notes: tuple[str, ...]
    """What whoever hands the pack on must know."""


def gather(plan: Plan, outcomes: Mapping[Stage, Outcome], report: Path, weights: bool, inputs: bool = True) -> Pack:
    """Args:
        report: the folder of the report, which is up to date.
        inputs: pack pools, benchmark data and, without their weights, local models too.

    Raises: UserError where nothing is finished.
    """
    recipe = recipe_of(plan)
    finished = {stage: o.artifact for stage, o in outcomes.items() if o.artifact is not None}
    if not finished:
        raise UserError(
            f"recipe {recipe.path}: nothing is finished, so there is nothing to pack; selectit run makes it"
        )
    name, artifacts = recipe.config.name, report.parent / ARTIFACTS_FOLDER
    named = Inputs(plan, weights, inputs)
    entries: Entries = {
        "recipe.yaml": _yaml(named.recipe),
        "rows.yaml": _yaml(named.rows),
        **as_written(recipe.path, recipe.parents),
        **{f"{name}/{file}": report / file for file in (*REPORT_FILES, REPORT_RECORD)},
        **_subsets(plan, finished),
        **_texts(plan, finished),
        **named.entries,
        **_environment(),
    }
    expected: dict[str, str] = {}
    left_out: dict[str, str] = {}
    names = with_inputs(artifacts, [artifact.path.name for artifact in finished.values()])
    for folder in names:
        manifest = json.loads((artifacts / folder / MANIFEST).read_text(encoding="utf-8"))
        entries[f"{ARTIFACTS_FOLDER}/{folder}/{MANIFEST}"] = artifacts / folder / MANIFEST
        for file in manifest["files"]:
            digest = manifest.get("hashes", {}).get(file)
            if not weights and Path(file).suffix in WEIGHTS:
                left_out[f"{folder}/{file}"] = digest
                continue
            entries[f"{ARTIFACTS_FOLDER}/{folder}/{file}"] = artifacts / folder / file
            if digest is not None:
                expected[f"{ARTIFACTS_FOLDER}/{folder}/{file}"] = digest
    hasher = Hasher()
    absent = {place: hasher.file(file) for place, file in named.left_out.items()}
    entries[PACK] = _json({"name": name, "left_out": left_out, "inputs_left_out": absent})
    num_missing = sum(o.artifact is None for o in outcomes.values())
    notes = tuple(_notes(finished, num_missing, len(left_out), len(absent)))
    entries["README.md"] = _readme(plan, len(names), notes).encode()
    return Pack(name, entries, expected, notes)


def _subsets(plan: Plan, finished: Mapping[Stage, Artifact]) -> Entries:
    """Row ids of each row's subset, one a line, best first; subsets.csv names the row of each file."""
    entries: Entries = {}
    index = [["file", "row", "select_seed", "num_rows"]]
    for row in plan.rows:
        seeds = {cell.chain[-1]: cell.select_seed for cell in row.cells}
        stages = [stage for stage in row.stages("select") if stage in finished and stage in seeds]
        for stage in stages:
            lines = [line for line in iter_jsonl(finished[stage].path / SCORES_FILE) if line["selected"]]
            ids = [str(line["row_id"]) for line in sorted(lines, key=lambda line: line["rank"])]
            seed = f" seed {seeds[stage]}" if len(stages) > 1 else ""
            name = _file_name(row.label + seed, [line[0] for line in index])
            index.append([name, row.label, str(seeds[stage]), str(len(ids))])
            entries[f"subsets/{name}"] = "".join(f"{i}\n" for i in ids).encode()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(index)
    return {"subsets/subsets.csv": text.getvalue().encode(), **entries}


def _texts(plan: Plan, finished: Mapping[Stage, Artifact]) -> Entries:
    """Rating prompts as each rater read them, the judge's prompt, and the templates of training and evaluation."""
    entries: Entries = {}
    prompts = {
        finished[stage].path.name: list(stage.config.prompts)
        for stage in plan.stages
        if isinstance(stage.config, ScoreStage) and stage in finished
    }
    if prompts:
        entries["prompts/rating_prompts.json"] = _json(prompts)
    if any(isinstance(stage.config, EvaluateStage) and stage.config.judge for stage in plan.stages):
        from importlib.resources import files

        for source in files("selectit.evaluate.judge").iterdir():
            if source.name.endswith(".txt"):
                entries[f"prompts/judge_{source.name}"] = source.read_bytes()
    for template in sorted({row.config.finetune.template for row in plan.rows} & set(OWN)):
        entries[f"templates/{template}.jinja"] = chat_template(template).encode()
    return entries


def _environment() -> Entries:
    installed = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()}, key=str.lower)
    entries: Entries = {
        "environment/installed.txt": "".join(f"{line}\n" for line in installed).encode(),
        "environment/machine.txt": f"python {platform.python_version()}\n{platform.platform()}\n".encode(),
    }
    constraints = Path(__file__).resolve().parents[2] / "constraints.txt"
    if constraints.is_file():  # of a checkout; an installed wheel has none
        entries["environment/constraints.txt"] = constraints
    return entries


def _notes(
    finished: Mapping[Stage, Artifact], num_missing: int, num_left_out: int, num_inputs_left_out: int
) -> list[str]:
    notes = []
    if num_missing:
        notes.append(f"{num_missing} stages have no result; the table names the reasons")
    if num_left_out:
        notes.append(f"{num_left_out} files of weights are left out; {PACK} has their sha256 (--weights packs them)")
    if num_inputs_left_out:
        notes.append(
            f"{num_inputs_left_out} files that recipe.yaml names are left out; put them where {PACK} names them, with "
            "their sha256, before the recipe is run"
        )
    now = provenance()["libraries"]
    other = sorted(
        {
            f"{name} {version}, here {now.get(name)}"
            for artifact in finished.values()
            for name, version in (artifact.manifest.get("libraries") or {}).items()
            if version and version != now.get(name)
        }
    )
    if other:
        notes.append(f"some artifacts were made with other versions than are installed here: {'; '.join(other)}")
    notes.append(
        "manifests and stage.json hold paths, the device and the commit of the machine that made them, and artifacts "
        f"and {INPUTS}/ hold texts of the pool and the benchmarks: look at them, and at their licences, before an "
        "anonymous or a public hand-over"
    )
    return notes


def _readme(plan: Plan, num_artifacts: int, notes: tuple[str, ...]) -> str:
    recipe, made_by = recipe_of(plan), provenance()
    name = recipe.config.name
    commit = f"{made_by['git_commit'] or 'not known'}{' with uncommitted changes' if made_by['git_dirty'] else ''}"
    return f"""# {name}

{recipe.config.description or "A table made with selectit."}

| here | what it is |
|---|---|
| `{name}/` | the report: the table with its caption, plots, results.csv with every number and its artifact |
| `recipe.yaml`, `rows.yaml` | the resolved recipe with every default; the settings of each row of the table |
| `recipe-as-written/` | the recipe file and those it extends |
| `subsets/` | row ids that each arm trained on, best first; subsets.csv lists whose file is whose |
| `prompts/`, `templates/` | rating prompts as the rater read them, by artifact; prompt templates |
| `profiles/`, `published/` | evaluation profiles and published results that the recipe names by a path |
| `{INPUTS}/` | pool, benchmark data and local models that recipe.yaml names |
| `artifacts/` | {num_artifacts} folders, one a stage: manifest.json (settings, inputs, hashes), scores, answers |
| `environment/` | versions installed where the pack was made; the versions that this project tests |
| `{PACK}` | the files that were left out, with their sha256 |

```bash
sha256sum -c {SUMS}      # are these the bytes that were packed?
selectit verify {name}        # is every file the one that its manifest describes, and every number its artifact's?
selectit verify recipe.yaml --runs-dir .   # does the report come out of the artifacts once more? (with the inputs)
selectit plan recipe.yaml --runs-dir .     # which of its stages are whole here
selectit run recipe.yaml                   # makes it again
```

Packed by selectit at commit {commit}.

{"".join(f"- {note}{chr(10)}" for note in notes)}"""


def _file_name(label: str, taken: Sequence[str]) -> str:
    """A name for any file system, which none of `taken` equals in upper or lower case."""
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in "._=" else "-" for c in label)
    stem = re.sub("-+", "-", plain).strip("-.")[:MOST_CHARACTERS] or "row"
    lower = {name.lower() for name in taken}
    names = (f"{stem}{'' if number == 1 else f'-{number}'}.txt" for number in itertools.count(1))
    return next(name for name in names if name.lower() not in lower)


def _yaml(value: object) -> bytes:
    return yaml_text.dump(value).encode()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()
