"""What goes into an exported pack, and the README that says what is what.

Reads a finished recipe: its report, the artifacts behind it, prompts, templates, and the versions installed here.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import yaml

from selectit.artifact import MANIFEST, Artifact, provenance
from selectit.audit.trace import ARTIFACTS, with_inputs
from selectit.audit.verify import PACK
from selectit.config import EvaluateStage, ScoreStage
from selectit.errors import UserError
from selectit.execution import Outcome
from selectit.graph import Plan, Stage
from selectit.report.results import recipe_of
from selectit.templates import chat_template, template_name

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
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


def gather(plan: Plan, outcomes: Mapping[Stage, Outcome], report: Path, weights: bool) -> Pack:
    """Args: report: the folder of the report, which is up to date.

    Raises: UserError where nothing is finished.
    """
    recipe = recipe_of(plan)
    finished = {stage: o.artifact for stage, o in outcomes.items() if o.artifact is not None}
    if not finished:
        raise UserError(
            f"recipe {recipe.path}: nothing is finished, so there is nothing to pack; selectit run makes it"
        )
    name, artifacts = recipe.config.name, report.parent / ARTIFACTS
    entries: Entries = {
        "recipe.yaml": _yaml(recipe.config.model_dump(mode="json", exclude={"extends"})),
        "rows.yaml": _yaml({row.label: row.config.model_dump(mode="json") for row in plan.rows}),
        f"recipe-as-written/{recipe.path.name}": recipe.path,
        **{f"{name}/{path.name}": path for path in sorted(report.iterdir()) if path.is_file()},
        **_subsets(plan, finished),
        **_texts(plan, finished),
        **_environment(),
    }
    expected, left_out = {}, {}
    names = with_inputs(artifacts, [artifact.path.name for artifact in finished.values()])
    for folder in names:
        manifest = json.loads((artifacts / folder / MANIFEST).read_text(encoding="utf-8"))
        entries[f"{ARTIFACTS}/{folder}/{MANIFEST}"] = artifacts / folder / MANIFEST
        for file in manifest["files"]:
            digest = manifest.get("hashes", {}).get(file)
            if not weights and Path(file).suffix in WEIGHTS:
                left_out[f"{folder}/{file}"] = digest
                continue
            entries[f"{ARTIFACTS}/{folder}/{file}"] = artifacts / folder / file
            if digest is not None:
                expected[f"{ARTIFACTS}/{folder}/{file}"] = digest
    entries[PACK] = _json({"name": name, "left_out": left_out})
    holes = sum(o.artifact is None for o in outcomes.values())
    notes = tuple(_notes(finished, holes, len(left_out)))
    entries["README.md"] = _readme(plan, len(names), notes).encode()
    return Pack(name, entries, expected, notes)


def _subsets(plan: Plan, finished: Mapping[Stage, Artifact]) -> Entries:
    """Row ids of each row's subset, one a line, best first."""
    entries: Entries = {}
    for row in plan.rows:
        seeds = {cell.chain[-1]: cell.select_seed for cell in row.cells}
        stages = [stage for stage in row.stages("select") if stage in finished and stage in seeds]
        for stage in stages:
            with (finished[stage].path / "scores.jsonl").open(encoding="utf-8") as f:
                lines = [line for line in map(json.loads, f) if line["selected"]]
            ids = [str(line["row_id"]) for line in sorted(lines, key=lambda line: line["rank"])]
            seed = f" seed {seeds[stage]}" if len(stages) > 1 else ""
            entries[f"subsets/{_file_name(row.label + seed)}.txt"] = "".join(f"{i}\n" for i in ids).encode()
    return entries


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

        for source in files("selectit.evaluate").iterdir():
            if source.name.startswith("judge_prompt") and source.name.endswith(".txt"):
                entries[f"prompts/{source.name}"] = source.read_bytes()
    for template in sorted({row.config.finetune.template for row in plan.rows} - {"chat"}):
        entries[f"templates/{template_name(template).removesuffix('.jinja')}.jinja"] = chat_template(template).encode()
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


def _notes(finished: Mapping[Stage, Artifact], num_holes: int, num_left_out: int) -> list[str]:
    notes = []
    if num_holes:
        notes.append(f"{num_holes} stages have no result; the table has labelled holes")
    if num_left_out:
        notes.append(f"{num_left_out} files of weights are left out; {PACK} has their sha256 (--weights packs them)")
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
        "hold texts of the pool and the benchmarks: look at them before an anonymous or a public hand-over"
    )
    return notes


def _readme(plan: Plan, num_artifacts: int, notes: tuple[str, ...]) -> str:
    recipe, told = recipe_of(plan), provenance()
    name = recipe.config.name
    commit = f"{told['git_commit'] or 'not known'}{' with uncommitted changes' if told['git_dirty'] else ''}"
    return f"""# {name}

{recipe.config.description or "A table made with selectit."}

| here | what it is |
|---|---|
| `{name}/` | the report: the table with its caption, plots, results.csv with every number and its artifact |
| `recipe.yaml`, `rows.yaml` | the resolved recipe with every default; the settings of each row of the table |
| `recipe-as-written/` | the recipe file |
| `subsets/` | row ids that each arm trained on, best first |
| `prompts/`, `templates/` | rating prompts as the rater read them, by artifact; prompt templates |
| `artifacts/` | {num_artifacts} folders, one a stage: manifest.json (settings, inputs, hashes), scores, answers |
| `environment/` | versions installed where the pack was made; the versions that this project tests |
| `{PACK}` | the files that were left out, with their sha256 |

```bash
sha256sum -c {SUMS}      # are these the bytes that were packed?
selectit verify {name}        # is every file the one that its manifest describes, and every number its artifact's?
selectit run recipe.yaml      # makes it again, where the pool, the models and the data are
```

Packed by selectit at commit {commit}.

{"".join(f"- {note}{chr(10)}" for note in notes)}"""


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in "._-=" else "-" for c in label).replace("--", "-").strip("-")


def _yaml(value: object) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()
