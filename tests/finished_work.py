"""A recipe whose stages are all finished, in no time: real fingerprints, real selections, invented numbers."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import yaml
from rich.console import Console
from typer.testing import CliRunner

from selectit.cli import app as cli
from selectit.cli.consoles import console
from selectit.config import SelectStage
from selectit.data.pool import read_pool
from selectit.plan.build import build
from selectit.plan.graph import Stage
from selectit.plan.status import State, state
from selectit.recipe.load import load
from selectit.report import write_report
from selectit.run.engine import found
from selectit.scoring.ledger import SCHEMA, Record
from selectit.selection import stage as selection
from selectit.store.artifact import finish
from selectit.store.kinds import KINDS
from selectit.store.names import LEDGER, SCORES_FILE, SELECTION_FILE, STAGE_FILE
from selectit.store.runs_folder import Store
from selectit.tracking import Tracker

NUM_ROWS = 20
WEIGHTS = (2).to_bytes(8, "little") + b"{}"
WIDTH = 200


class Work:
    """A recipe in `folder` and its runs folder; `finish()` makes what is not there."""

    def __init__(self, folder: Path, demo: Path, name: str = "small") -> None:
        self.recipe, self.runs, self.name = folder / f"{name}.yaml", folder / "runs", name
        rows = [{"id": f"row{i}", "instruction": f"a {i}", "output": "b" * (i + 1)} for i in range(NUM_ROWS)]
        (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.write({
            "name": name,
            "pool": {"path": str(folder / "pool.jsonl")},
            "model": {"path": str(demo / "model")},
            "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks"), "benchmarks": ["mmlu", "gsm8k"]},
            "arms": {
                "base": {"finetune": {"method": "none"}},
                "random": {"select": {"strategy": "random"}},
                "selectit": {"select": {"strategy": "selectit", "num_rating_prompts": 2}},
            },
            "baseline": "random",
            "seeds": {"train": [1, 2]},
        })  # fmt: skip

    def write(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.recipe.write_text(yaml.safe_dump(raw, sort_keys=False))

    def finish(self, *overrides: str, values: dict[str, float] | None = None, **manifest: Any) -> Work:
        """Finish every stage and write the report.

        Args:
            values: row -> the value of its benchmarks; 0.25 where not named.
            manifest: fields that differ from the usual ones, such as device.
        """
        plan, store = build(load(self.recipe, overrides)), Store(self.runs)
        store.prepare()
        self.states: dict[Stage, State] = {}
        for stage in plan.stages:
            now = state(stage, self.states, store, plan)
            if now.artifact is None:
                self._make(stage, now, plan, store, values or {}, manifest)
                now = state(stage, self.states, store, plan)
            self.states[stage] = now
        write_report(plan, found(plan, store), self.runs)
        return self

    def copy(self, folder: Path) -> Work:
        """The same recipe with a runs folder of its own, which may be changed."""
        other = copy.copy(self)
        other.runs = folder / "runs"
        shutil.copytree(self.runs, other.runs)
        return other

    def path(self, kind: str, number: int = 0) -> Path:
        names = [now.artifact.path.name for s, now in self.states.items() if s.kind == kind and now.artifact]
        return self.runs / "artifacts" / names[number]

    def _make(self, stage, now, plan, store, values, more) -> None:
        path = store.folder(stage.kind, now.fingerprint)
        path.mkdir(parents=True, exist_ok=True)
        inputs = {name: self.states[other].artifact.path for name, other in stage.inputs}
        write = getattr(self, f"_{stage.kind.split('-')[0]}")
        metrics = write(stage, path, inputs, plan, values) or {}
        config = {"kind": stage.kind, "fingerprint": now.fingerprint, "config": stage.config.model_dump(mode="json")}
        (path / STAGE_FILE).write_text(json.dumps(config))
        manifest = {
            "kind": stage.kind, "fingerprint": now.fingerprint, "identity": now.identity,
            "inputs": {name: folder.name for name, folder in inputs.items()}, "config": config["config"],
            "metrics": metrics, "seconds": 100.0, "peak_memory_mb": {"process": 500}, "device": "cpu, 2 threads",
            "finished": "2026-01-01T00:00:00+00:00", "process": 1, "git_commit": "abc123", "git_dirty": False,
            "libraries": {"torch": "2.13.0", "trl": "1.16.0"}, **more,
        }  # fmt: skip
        finish(path, manifest, KINDS[stage.kind].outputs, KINDS[stage.kind].content)

    def _score(self, stage, path, *_) -> dict[str, float]:
        rows = [
            asdict(Record(row.row_id, p, [0.1, 0.1, 0.1, 0.1, 0.1 + (i % 7 + p) / 10], 0.9, 50, False))
            for i, row in enumerate(read_pool(stage.config.pool))
            for p in range(len(stage.config.prompts))
        ]
        parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path / LEDGER)
        reported = {
            "turns": "first", "num_answers": NUM_ROWS, "template": "plain", "text_alone": False,
            "answer_spread": 0.5, "reads_alone": False,
            "num_rows": NUM_ROWS, "num_ratings": len(rows), "num_failures": 0, "num_truncated": 0, "mean_mass": 0.9,
            "failures": {}, "prompts": list(stage.config.prompts), "num_parameters": 1_100_000, "dtype": "float32",
        }  # fmt: skip
        (path / "score.json").write_text(json.dumps(reported))
        return {"num_tokens": 50 * len(rows), "tokens_per_second": 1000.0}

    def _select(self, stage, path, inputs, *_):
        return selection.run(stage.config, inputs, path, Tracker(path, Console(quiet=True)))

    def _finetune(self, stage, path, *_) -> dict[str, float]:
        (path / "adapter").mkdir(exist_ok=True)
        (path / "adapter" / "adapter_config.json").write_text(json.dumps({"seed": stage.config.seed}))
        (path / "adapter" / "adapter_model.safetensors").write_bytes(WEIGHTS)
        # a name stands for the weights: other settings or rows, other content
        (path / "adapter" / "trained.json").write_text(json.dumps(path.name))
        numbers = {"num_steps": 12, "num_tokens": 3456, "final_loss": 1.25, "left_out": [], "control_tokens": {}}
        (path / "training.json").write_text(json.dumps(numbers))
        return {"num_tokens": 3456, "num_steps": 12, "tokens_per_second": 800.0}

    def _evaluate(self, stage, path, inputs, plan, values):
        (row, _), *_ = plan.owners[stage]
        result = {
            "benchmark": stage.config.benchmark.name, "metric": stage.config.benchmark.metric, "profile": "miniature",
            "value": values.get(row.label, 0.25), "stderr": 0.01, "num_items": 8, "status": "scored", "reason": "",
            "complete": True, "notes": [], "judge": None,
        }  # fmt: skip
        (path / "result.json").write_text(json.dumps(result))
        (path / "items.jsonl").write_text(json.dumps({"task": "t", "item_id": 0, "prompt": path.name}) + "\n")
        return {"value": result["value"], "num_items": 8.0}


def call(*arguments: object, rc: int = 0) -> str:
    """What one command prints, without a process of its own; an error's text where it ends in one."""
    console.width = WIDTH  # workers of xdist have a width of their own
    answer = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert answer.exit_code == rc, f"{answer.output}\n{answer.exception!r}"
    is_error = answer.exception is not None and not isinstance(answer.exception, SystemExit)
    return answer.output + (str(answer.exception) if is_error else "")


def run_selection(config: SelectStage, out: Path) -> tuple[list[dict], list[dict], dict]:
    """Checks and runs a select stage.

    Returns: chosen lines of scores.jsonl, best first; all of its lines; selection.json.
    """
    selection.preflight(config)
    out.mkdir()
    selection.run(config, {}, out, Tracker(out, Console(quiet=True)))
    lines = [json.loads(line) for line in (out / SCORES_FILE).read_text().splitlines()]
    chosen = sorted((line for line in lines if line["selected"]), key=lambda line: line["rank"])
    return chosen, lines, json.loads((out / SELECTION_FILE).read_text())
