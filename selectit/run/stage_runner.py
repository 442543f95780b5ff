"""Running one stage in its folder, under a lock: what it makes becomes an artifact, what it raises a failed outcome."""

from __future__ import annotations

import importlib
import json
import os
import resource
import time
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from selectit.config import WandbConfig
from selectit.data.whole_files import write_whole
from selectit.errors import NotRun, UserError, is_full, no_space
from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.plan.status import State
from selectit.store.artifact import Artifact, finish
from selectit.store.fingerprint import pinned
from selectit.store.kinds import KINDS
from selectit.store.names import ERROR, MANIFEST, STAGE_FILE
from selectit.store.provenance import provenance
from selectit.store.runs_folder import Store
from selectit.tracking import Tracker, wandb_run


@dataclass(frozen=True)
class Session:
    """Where a plan runs and where it reports."""

    store: Store
    console: Console
    wandb: WandbConfig
    group: str
    """W&B group of the runs, one run per executed stage."""
    tracebacks: bool = False
    """Print the traceback of a stage that fails, which its error.txt has in any case."""
    raises: bool = False
    """A stage that fails ends everything with its own error, in place of a failed outcome."""


def execute(
    stage: Stage,
    now: State,
    inputs: Mapping[str, Artifact],
    title: str,
    session: Session,
    labels: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run one stage in its folder and put its manifest in place.

    Args:   labels: arm, strategy, ratio, seeds and so on, for the configuration of its W&B run.
    Raises: UserError where the user named a folder that holds other work. What the stage itself raises becomes
        a failed outcome, with the traceback in the folder's error.txt; or is raised, if the session says so.
    """
    store, console, kind = session.store, session.console, KINDS[stage.kind]
    assert now.identity is not None and now.fingerprint is not None
    path = store.folder(stage.kind, now.fingerprint)
    with store.lock(path, console.print):
        if (artifact := store.find(stage.kind, now.fingerprint)) is not None:
            return Outcome(artifact)
        _claim(path, stage, now.fingerprint)
        going_on = f" (resuming: {now.why})" if now.status == "resume" else ""
        console.print(f"{title}{going_on}", highlight=False, soft_wrap=True)
        started = time.monotonic()
        try:
            with _wandb(stage, now.fingerprint, title, session, labels or {}) as run:
                folders = {name: artifact.path for name, artifact in inputs.items()}
                tracker = Tracker(path, console, run)
                earlier = {}
                if kind.reuse_keys:
                    earlier["earlier"] = [artifact.path for artifact in store.alike(now.identity, kind.reuse_keys)]
                metrics = module_of(stage).run(pinned(stage.config), folders, path, tracker, **earlier)
                tracker.summary(metrics)
            seconds = time.monotonic() - started
            artifact = finish(path, _manifest(stage, now, inputs, metrics, seconds), kind.outputs, kind.content)
        except NotRun as reason:
            console.print(f"  not run: {reason}", highlight=False, soft_wrap=True)
            return Outcome(None, ran=True, reason=str(reason))
        except Exception as error:
            message = _message(error, path)
            details = "" if isinstance(error, OSError) and is_full(error) else f"\n  {_keep(path)}"
            console.print(f"  failed: {message}{details}", style="red", highlight=False, soft_wrap=True)
            if session.raises:
                raise
            if session.tracebacks:
                console.print(traceback.format_exc(), highlight=False, markup=False, soft_wrap=True)
            return Outcome(None, ran=True, reason=message.splitlines()[0], failed=True)
        (path / ERROR).unlink(missing_ok=True)
        shown = ", ".join(f"{name} {_short(metrics[name])}" for name in kind.shown_metrics if name in metrics)
        console.print(f"  {shown}  ({seconds:.1f} s)", style="dim", highlight=False, soft_wrap=True)
        return Outcome(artifact, ran=True)


def _message(error: Exception, path: Path) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and is_full(error):
        return f"{no_space(error, path)}; free some and run the same command again"
    return f"{type(error).__name__}: {error}"


def _keep(path: Path) -> str:
    """Write the traceback of the current error next to the work, or print it where the disk is full."""
    text = traceback.format_exc()
    try:
        (path / ERROR).write_text(text)
    except OSError as error:
        return f"details could not be written ({error.strerror}):\n{text}"
    return f"details: {path / ERROR}"


def module_of(stage: Stage) -> ModuleType:
    return importlib.import_module(KINDS[stage.kind].module)


def release(stage: Stage) -> None:
    """A module may keep a model between its stages; it gives the memory back in `release()`."""
    if (give_back := getattr(module_of(stage), "release", None)) is not None:
        give_back()


def _claim(path: Path, stage: Stage, fingerprint: str) -> None:
    """Write the resolved configuration, unless the folder holds the work of another one."""
    resolved = path / STAGE_FILE
    if not resolved.is_file() and not (path / MANIFEST).is_file():
        found = [name for name in KINDS[stage.kind].outputs if (path / name).exists()]
        if found:
            raise UserError(
                f"{path} holds {', '.join(found)}, which no selectit {stage.kind} wrote and this one would overwrite; "
                "move it, or choose another --out"
            )
    if resolved.is_file() and json.loads(resolved.read_text(encoding="utf-8"))["fingerprint"] != fingerprint:
        raise UserError(
            f"{path} holds a {stage.kind} with other settings (its {STAGE_FILE} names them); choose another --out"
        )
    (path / MANIFEST).unlink(missing_ok=True)  # of a damaged artifact: what is written now is not what it describes
    config = {"kind": stage.kind, "fingerprint": fingerprint, "config": stage.config.model_dump(mode="json")}
    write_whole(resolved, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _wandb(
    stage: Stage, fingerprint: str, title: str, session: Session, labels: Mapping[str, Any]
) -> AbstractContextManager[Any]:
    if not session.wandb.enabled:
        return nullcontext()
    return wandb_run(
        directory=session.store.runs_dir / "wandb",
        project=session.wandb.project,
        entity=session.wandb.entity,
        group=session.group,
        job_type=stage.kind,
        name=title.split("] ")[-1],
        config={**labels, "stage": stage.config.model_dump(mode="json"), "fingerprint": fingerprint},
        run_id=f"{stage.kind}-{fingerprint[:16]}",
    )


def _manifest(
    stage: Stage, now: State, inputs: Mapping[str, Artifact], metrics: dict[str, Any], seconds: float
) -> dict[str, Any]:
    return {
        "kind": stage.kind,
        "fingerprint": now.fingerprint,
        "identity": now.identity,
        "inputs": {name: artifact.path.name for name, artifact in inputs.items()},
        "config": stage.config.model_dump(mode="json"),
        "metrics": metrics,
        "seconds": round(seconds, 3),
        "peak_memory_mb": _peak_memory_mb(),
        "device": _device(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "process": os.getpid(),
        **provenance(),
    }


def _peak_memory_mb() -> dict[str, int]:
    """Highest resident memory of this process so far, of its largest child so far, and of the GPU if there is one.

    A forked child's holds the pages that it shares with this process.
    """
    import torch

    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = {"process": own // 1024, "largest_child": children // 1024}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated() // 2**20
        torch.cuda.reset_peak_memory_stats()
    return peak


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
